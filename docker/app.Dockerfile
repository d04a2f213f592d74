# The API: FastAPI and the code that service and worker share; neither torch nor the network's weights.
#
#   docker build -f docker/app.Dockerfile -t lipsync-app .
#
# EXTRAS=s3 adds the packages that keep files in a bucket. constraints.txt fixes the version of every package.
#
# Behind a mirror, set the PIP_* arguments: they are pip's own settings. A private CA can be the build secret `ca`:
#   --secret id=ca,src=FILE --build-arg PIP_CERT=/run/secrets/ca
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_CERT
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Two environments: one for building, which is left behind, and one without pip, which goes into the image.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/venv
ENV PATH=/opt/build/bin:$PATH
COPY pyproject.toml constraints.txt docker/requirements.py ./
ARG EXTRAS=
# Only the worker needs the ffmpeg inside imageio-ffmpeg (160 MB); uploads are probed with PyAV.
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    python requirements.py app $EXTRAS > requirements.txt \
    && pip install -c constraints.txt "setuptools>=77" \
    && pip --python /opt/venv/bin/python install -c constraints.txt -r requirements.txt \
    && rm /opt/venv/lib/python3*/site-packages/imageio_ffmpeg/binaries/ffmpeg*
COPY README.md LICENSE NOTICE ./
COPY lipsync ./lipsync
COPY app ./app
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && pip --python /opt/venv/bin/python install --no-deps --no-index --target /opt/lipsync dist/*.whl

FROM ${BASE_IMAGE}
RUN groupadd --gid 10001 lipsync \
    && useradd --uid 10001 --gid lipsync --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lipsync \
    && install --directory --owner lipsync --group lipsync /data
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/lipsync /opt/lipsync
ENV PATH=/opt/lipsync/bin:/opt/venv/bin:$PATH PYTHONPATH=/opt/lipsync \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    LIPSYNC_HOST=0.0.0.0 LIPSYNC_PORT=8000 LIPSYNC_DATA_DIR=/data
USER lipsync
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"LIPSYNC_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["lipsync"]
CMD ["api"]
