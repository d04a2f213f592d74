# The HTTP side: FastAPI and what both processes share; neither torch nor the network's weights.
#
#   docker build -f docker/app.Dockerfile -t lipsync-app .
#
# Behind a mirror the PIP_* arguments are pip's own settings; a private CA may be the build secret `ca`:
#   --secret id=ca,src=FILE --build-arg PIP_CERT=/run/secrets/ca
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY pyproject.toml constraints.txt docker/requirements.py ./
# imageio-ffmpeg stays out: its 160 MB binary is the worker's tool, uploads are probed with PyAV.
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    python requirements.py app --without imageio-ffmpeg > requirements.txt \
    && pip install -c constraints.txt -r requirements.txt "setuptools>=77"
COPY README.md LICENSE NOTICE lipsync.py ./
COPY app ./app
RUN pip install --no-deps --no-build-isolation --no-index . \
    && pip uninstall --yes setuptools pip

FROM ${BASE_IMAGE}
RUN groupadd --gid 10001 lipsync \
    && useradd --uid 10001 --gid lipsync --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lipsync \
    && install --directory --owner lipsync --group lipsync /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LIPSYNC_HOST=0.0.0.0 LIPSYNC_PORT=8000 LIPSYNC_DATA_DIR=/data
USER lipsync
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"LIPSYNC_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["lipsync"]
CMD ["api"]
