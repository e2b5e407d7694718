"""Whatever the environment holds for another program that uses Celery, this one rings its own broker."""

import pytest

from core.jobs.bell import make_app
from core.settings import Settings

OTHERS = {
    "CELERY_BROKER_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_READ_URL": "redis://127.0.0.1:1/0",
    "CELERY_BROKER_WRITE_URL": "redis://127.0.0.1:1/0",
    "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/1",
    "CELERY_LOADER": "no_such_module:Loader",
    "CELERY_CONFIG_MODULE": "no_such_module",
    "DJANGO_SETTINGS_MODULE": "no_such_module",
    "APP": "no_such_module",
    "BROKER_URL": "redis://127.0.0.1:1/0",
    "CONFIG_MODULE": "no_such_module",
    "LOADER": "no_such_module:Loader",
    "RESULT_BACKEND": "redis://127.0.0.1:1/1",
}


@pytest.mark.parametrize("broker_url", ["", "redis://elsewhere:6380/3"])
def test_another_programs_variables_change_nothing(settings: Settings, broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings.model_copy(update={"broker_url": broker_url})
    expected = make_app(settings).connection_for_write().as_uri()
    for name, value in OTHERS.items():
        monkeypatch.setenv(name, value)
    app = make_app(settings)
    assert app.connection_for_write().as_uri() == app.connection_for_read().as_uri() == expected
    assert app.conf.result_backend is None
