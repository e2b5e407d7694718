"""``anchorhood audit``."""

from itertools import islice

import click

from anchorhood.commands.console import emit, json_option, service
from anchorhood.records import AuditLine


@click.command()
@click.option("--since", help="Not before this time, such as 2026-11-28 or 2026-11-28T14:00Z.")
@click.option("--until", help="Before this time.")
@click.option("--by", help="By the key of this id.")
@click.option("--action", help="Only this, such as delete_dataset or 'keys create'.")
@click.option("--on", help="On the dataset, job, model, image or key of this id.")
@click.option("--last", type=click.IntRange(1), default=100, show_default=True, help="So many of the newest lines.")
@json_option
def audit(
    since: str | None, until: str | None, by: str | None, action: str | None, on: str | None, last: int, as_json: bool
) -> None:
    """Who did what, newest first: each write, refused ones too. Needs a key of scope admin.

    Example: anchorhood audit --action delete_dataset
    """
    with service() as client:
        lines = list(islice(client.audit(since=since, until=until, key=by, action=action, object=on), last))
        emit(as_json, lines, map(_line, lines))


def _line(line: AuditLine) -> str:
    status = "done" if line.status is None else line.status
    by = f"{line.key_id or 'no key':12}  {line.address or '':15}"
    return f"{line.created_at:%Y-%m-%d %H:%M:%S}  {by}  {status:4}  {line.action:20}  {' '.join(line.objects)}"
