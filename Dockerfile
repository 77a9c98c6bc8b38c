# The page and the server of vqa, for a CPU; other wheels of PyTorch by a build argument:
#   docker build -t vqa .
#   docker build -t vqa --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .    (docker run --gpus all)
FROM python:3.12-slim-bookworm

# ahead of the package index, whose own wheels bring CUDA and are 3 GB larger
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=${TORCH_INDEX} \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    STREAMLIT_SERVER_HEADLESS=true

WORKDIR /opt/vqa
COPY pyproject.toml README.md LICENSE LICENSE-WEIGHTS ./
COPY vqa ./vqa
COPY training ./training
COPY app ./app
COPY configs ./configs
COPY examples ./examples
RUN python3 -m venv .venv && .venv/bin/pip install '.[serve,read,search,video]'

# models that are fetched, and conversations, outlive the container in its volume
RUN useradd --uid 1000 --create-home vqa && mkdir /data && chown vqa:vqa /data
USER vqa
WORKDIR /data
ENV PATH=/opt/vqa/.venv/bin:$PATH \
    VQA_CACHE=/data/cache
VOLUME /data

EXPOSE 8000 8501
HEALTHCHECK --start-period=10m --interval=30s --timeout=5s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["vqa"]
CMD ["serve", "--host", "0.0.0.0", "--api-keys", "/run/secrets/api_keys"]
