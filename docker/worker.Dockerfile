# The worker: torch, the face models, ffmpeg and the network with its weights.
#
#   docker build -f docker/worker.Dockerfile -t lipsync-worker:cpu .
#   docker build -f docker/worker.Dockerfile -t lipsync-worker:cuda \
#       --build-arg TORCH=torch==2.13.0 --build-arg TORCH_INDEX_URL= --build-arg RUNTIME= .
#
# TORCH names the build of torch. The default is the CPU build by its local version, which PyPI does not have. If the index
# that has it cannot be reached, the image fails to build; it never gets several GB of CUDA instead. PyPI's own torch
# includes CUDA; the machine then needs only NVIDIA's driver and container toolkit.
#
# RUNTIME names the extra of a second runtime for CPUs; an empty one leaves only torch, which is all that a GPU needs.
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
ARG TORCH=torch==2.13.0+cpu
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
# The headers and tests of torch (140 MB) are not needed at run time.
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    pip install -c constraints.txt "setuptools>=77" \
    && pip --python /opt/venv/bin/python install -c constraints.txt \
        ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} "$TORCH" \
    && rm -rf /opt/venv/lib/python3*/site-packages/torch/include /opt/venv/lib/python3*/site-packages/torch/test
ARG EXTRAS=
ARG RUNTIME=openvino
# mediapipe is installed without its dependencies. The dependency group `face-solutions` of pyproject.toml names what its
# face solutions import. So the image does without jax, jaxlib, sentencepiece and sounddevice (400 MB, for language models
# and microphones). The headless OpenCV replaces opencv-contrib, so the image needs no libGL, X11 or portaudio. OpenVINO
# comes without its telemetry, and without its drivers for other devices (50 MB). The last stage checks that nothing is
# missing.
RUN --mount=type=secret,id=ca --mount=type=cache,target=/root/.cache/pip \
    python requirements.py worker $RUNTIME $EXTRAS --group face-solutions --without torch mediapipe $RUNTIME \
        > requirements.txt \
    && python requirements.py worker $RUNTIME --only mediapipe $RUNTIME > bare.txt \
    && pip --python /opt/venv/bin/python install -c constraints.txt -r requirements.txt \
    && pip --python /opt/venv/bin/python install --no-deps -c constraints.txt -r bare.txt \
    && rm -f /opt/venv/lib/python3*/site-packages/openvino/libs/libopenvino_intel_[gn]pu_*
COPY README.md LICENSE NOTICE ./
COPY lipsync ./lipsync
COPY app/__init__.py ./app/__init__.py
COPY app/core ./app/core
COPY model ./model
COPY worker ./worker
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . \
    && pip --python /opt/venv/bin/python install --no-deps --no-index --target /opt/lipsync dist/*.whl

FROM ${BASE_IMAGE}
RUN groupadd --gid 10001 lipsync \
    && useradd --uid 10001 --gid lipsync --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lipsync \
    && install --directory --owner lipsync --group lipsync /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/lipsync/bin:/opt/venv/bin:$PATH PYTHONPATH=/opt/lipsync \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp/matplotlib LIPSYNC_DATA_DIR=/data
USER lipsync
WORKDIR /data
RUN python -c "import mediapipe as mp, numpy as np; \
    picture = np.zeros((64, 64, 3), np.uint8); \
    mp.solutions.face_detection.FaceDetection(model_selection=1).process(picture); \
    mp.solutions.face_mesh.FaceMesh(static_image_mode=True, refine_landmarks=False).process(picture)" \
    && rm -r /tmp/matplotlib
COPY --from=build /opt/lipsync /opt/lipsync
ARG RUNTIME=openvino
RUN test -z "$RUNTIME" || python -c "import pathlib, tempfile; \
    from model.checkpoint_config import default_checkpoint; \
    from model.runtimes.measure import MeasureRequest, measure_here; \
    folder = tempfile.TemporaryDirectory(); \
    file = pathlib.Path(folder.name) / 'network.xml'; \
    request = MeasureRequest(checkpoint=default_checkpoint(), converted=file, threads=1, batch_size=1); \
    measured = measure_here(request).measured; \
    assert '$RUNTIME' in [one.runtime for one in measured if not one.flaw], measured"
COPY docker/worker_health.py /opt/worker_health.py
VOLUME /data
HEALTHCHECK --interval=20s --timeout=20s --start-period=120s --retries=3 CMD ["python", "/opt/worker_health.py"]
ENTRYPOINT ["lipsync"]
CMD ["worker"]
