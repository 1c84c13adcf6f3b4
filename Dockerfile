# sobolev in a container, from its wheel.
#   docker build --tag sobolev .                              CPU
#   docker build --tag sobolev --build-arg JAX=cuda13 .       NVIDIA GPU with driver 580 or newer; cuda12 for older ones
#   docker run --gpus all --volume "$PWD/runs:/workspace/runs" sobolev train walker-walk
# The CUDA libraries come with jax's own packages, so both start from the same image.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /dist

FROM python:${PYTHON}-slim
ARG JAX=cpu
# EGL draws on the GPU or in software; OSMesa is the second choice; git lets runs record the commit of a checkout
RUN apt-get update && apt-get install --yes --no-install-recommends libegl1 libosmesa6 libgl1 git && \
    rm -rf /var/lib/apt/lists/*
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /dist /tmp/dist
RUN pip install --no-cache-dir /tmp/dist/*.whl --constraint /tmp/constraints.txt && \
    if [ "$JAX" != cpu ]; then pip install --no-cache-dir "jax[$JAX]" --constraint /tmp/constraints.txt; fi && \
    (python -c 'import dm_control' 2>/dev/null || \
     pip install --no-cache-dir --no-deps dm_control --constraint /tmp/constraints.txt) && \
    rm -r /tmp/dist
ENV NVIDIA_DRIVER_CAPABILITIES=all
WORKDIR /workspace
ENTRYPOINT ["sobolev"]
CMD ["doctor"]
