# Two images of one source. "api" has no torch: the API, the migrations and the queue "tasks" run from it. "worker" has torch:
# both queues run from it.
#
# Nothing is installed whose hash is not in requirements/ (`make lock` writes it); the base image is pinned by `make pin`.
#
#   FAISS  cpu or gpu: faiss-cpu and faiss-gpu ship the same module, so that an image holds one of them.
#   TORCH  cuda: PyPI's, whose x86-64 wheels carry CUDA (4.6 GB of the image). cpu: the wheels of torch's own index, once
#          `make lock` was run where that can be reached.

ARG PYTHON=python:3.11-slim-bookworm

# The whole code, compiled since nobody can write there later, and what an editable install adds: the command and a path.
FROM ${PYTHON} AS source
WORKDIR /app
RUN --mount=type=bind,source=requirements,target=/requirements \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --only-binary :all: --requirement /requirements/build.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --no-build-isolation --no-index --prefix /installed --editable . \
 && python -m compileall -q --invalidation-mode unchecked-hash .

FROM ${PYTHON} AS packages
ARG FAISS=cpu
# What filters a decoder's system calls comes with Debian's own apt; without it the build fails here.
RUN --mount=type=bind,source=requirements,target=/requirements \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --only-binary :all: \
      --requirement /requirements/common.txt --requirement "/requirements/faiss-${FAISS}.txt" \
 && python -c "import pyseccomp"
# Volumes take their owner from these folders. The home is where libraries keep caches; the root is mounted read-only.
RUN useradd --uid 10001 --user-group --no-create-home --no-log-init --shell /usr/sbin/nologin anchorhood \
 && install --directory --owner anchorhood --group anchorhood --mode 0700 /data \
 && install --directory --owner anchorhood --group anchorhood --mode 0710 /secrets
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
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["anchorhood", "api"]

FROM packages AS worker
LABEL org.opencontainers.image.title="Anchorhood worker" \
      org.opencontainers.image.description="Image embeddings from collections nobody labelled: training, queues \"training\" and \"tasks\""
ARG TORCH=cuda
RUN --mount=type=bind,source=requirements,target=/requirements \
    --mount=type=cache,target=/root/.cache/pip \
    pip install --require-hashes --no-deps --only-binary :all: \
      --requirement "/requirements/torch-${TORCH}.txt" --requirement /requirements/train.txt
COPY --from=source /app /app
COPY --from=source /installed /usr/local
USER 10001:10001
# The sweep of a worker whose database answers touches this file every few seconds.
HEALTHCHECK --interval=10s --timeout=10s --start-period=300s \
  CMD ["sh", "-c", "test -n \"$(find $ANCHORHOOD_DATA_DIR/run -name alive-*-$HOSTNAME -mmin -1)\""]
CMD ["anchorhood", "worker", "--queue", "training"]
