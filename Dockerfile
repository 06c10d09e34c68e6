# fkd as a command; docs/index.md has how it is run. torch's wheels bring CUDA, the host brings the driver.
FROM python:3.12-slim-bookworm

# Extras by their names in setup.cfg: --build-arg EXTRAS=plot,timm
ARG EXTRAS=""

# What is downloaded or indexed once is kept here: mount a folder to keep it longer than the container.
ENV FKD_CACHE=/cache/fkd TORCH_HOME=/cache/torch HF_HOME=/cache/huggingface PYTHONUNBUFFERED=1 \
    TRITON_CACHE_DIR=/cache/triton TORCHINDUCTOR_CACHE_DIR=/cache/inductor

# Kernels for a GPU, those of --compile too, are built when they are first used.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /usr/src/fkd
COPY LICENSE README.md pyproject.toml setup.cfg setup.py ./
COPY fkd ./fkd
# What is installed is this folder, which has no version to pin.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".${EXTRAS:+[$EXTRAS]}" \
    && rm -rf build ./*.egg-info \
    && useradd --create-home --uid 1000 fkd \
    && mkdir -m 1777 /cache /data

USER 1000
WORKDIR /data
ENTRYPOINT ["fkd"]
CMD ["--help"]
