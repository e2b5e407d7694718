"""``anchorhood models``, ``export``, ``evaluate`` and ``attention``."""

import io
from pathlib import Path

import click

from anchorhood.commands.console import dataset_line, emit, json_option, service
from anchorhood.commands.evaluation import evaluation_lines
from anchorhood.commands.names import dataset_id, model_id
from anchorhood.errors import AnchorhoodError
from anchorhood.models import writing


@click.group()
def models() -> None:
    """Published models."""


@models.command("list")
@click.option("--dataset", help="Of this dataset.")
@json_option
def list_models(dataset: str | None, as_json: bool) -> None:
    """All models.

    Example: anchorhood models list
    """
    with service() as client:
        listed = list(client.models.list(dataset_id(client, dataset)))
        emit(
            as_json,
            listed,
            [f"{m.id}  {m.created_at:%Y-%m-%d %H:%M}  {m.images:,} images x {m.dim}  {m.dataset_id}" for m in listed],
        )


@models.command("use")
@click.argument("dataset")
@click.argument("model")
@json_option
def use_model(dataset: str, model: str, as_json: bool) -> None:
    """Answer from another of a dataset's models.

    Example: anchorhood models use ds_3f9c0e2b7a61d845 mdl_7c1f0a9e8b6d5432
    """
    with service() as client:
        record = client.datasets.use_model(dataset_id(client, dataset), model_id(client, model))
        emit(as_json, record, [dataset_line(record)])


@models.command("delete")
@click.argument("model")
@json_option
def delete_model(model: str, as_json: bool) -> None:
    """Delete a model that is not its dataset's current one.

    Example: anchorhood models delete mdl_7c1f0a9e8b6d5432
    """
    with service() as client:
        id_ = model_id(client, model)
        client.models.delete(id_)
        emit(as_json, {"deleted": id_}, [f"{id_}: deleted"])


@click.command()
@click.argument("dataset")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A .npz or .csv file.")
@click.option("--model", help="Another model than the current one.")
@json_option
def export(dataset: str, out: Path, model: str | None, as_json: bool) -> None:
    """All embeddings of a dataset with ids, paths and labels.

    Example: anchorhood export ds_3f9c0e2b7a61d845 --out embeddings.npz
    """
    if out.suffix not in (".npz", ".csv"):
        raise click.BadParameter(f"{out}: the name must end in .npz or .csv", param_hint="--out")
    with service() as client:
        model = model_id(client, model) or client.models.current(dataset_id(client, dataset))
        with writing(out) as file:
            client.models.export(model, file, out.suffix[1:])
        emit(as_json, {"model_id": model, "out": str(out)}, [f"{out}: embeddings by {model}"])


@click.command()
@click.argument("dataset")
@click.option("-k", type=int, help="Number of voters.  [default: the most accurate by leave-one-out]")
@json_option
def evaluate(dataset: str, k: int | None, as_json: bool) -> None:
    """How good a dataset's model is: by its training's evaluation, and by the labels given since.

    Example: anchorhood evaluate ds_3f9c0e2b7a61d845
    """
    with service() as client:
        id_ = dataset_id(client, dataset)
        model = client.models.get(client.models.current(id_))
        judged = (model.manifest or {}).get("evaluation")
        labels = client.datasets.leave_one_out(id_, k)
        lines = evaluation_lines(judged, client.jobs.get(model.job_id).verdict)
        if labels.accuracy is None:
            lines.append(f"no leave-one-out accuracy of the labels now: {labels.abstained}")
        else:
            lines.append(f"leave-one-out accuracy of the labels now: {labels.accuracy:.1%} of {labels.judged:,}, K {labels.k}")
        emit(as_json, {"training": judged, "labels": labels}, lines)


@click.command()
@click.argument("image", type=int)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A .png file.")
@click.option("--model", help="Another model than the current one.")
@json_option
def attention(image: int, out: Path, model: str | None, as_json: bool) -> None:
    """Where the encoder of each round looks in a stored image (IMAGE is its id), side by side in one picture.

    Example: anchorhood attention 17 --out attention.png
    """
    if out.suffix != ".png":
        raise click.BadParameter(f"{out}: the name must end in .png", param_hint="--out")
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise AnchorhoodError(
            "anchorhood attention draws with Pillow, which is not installed here: pip install pillow"
        ) from error
    with service() as client:
        model = model_id(client, model) or client.models.current(client.image(image).dataset_id)
        with writing(out) as file:
            client.models.compute_attention(model, [image]).wait()
            record = client.models.attention(model, image)
            maps = [Image.open(io.BytesIO(client.models.attention_map(model, image, entry.round))) for entry in record.rounds]
            strip = Image.new("RGB", (sum(map_.width for map_ in maps), maps[0].height))
            for number, map_ in enumerate(maps):
                strip.paste(map_, (number * map_.width, 0))
            strip.save(file, "PNG")
        rounds = ", ".join(f"round {entry.round} {entry.similarity:.2f}" for entry in record.rounds)
        emit(as_json, record, [f"{out}: similarity to image {record.neighbour_id}: {rounds}"])
