# One image for every framewatch service: ingest, worker, migrate.
FROM python:3.12-slim

# Empty: torch as the package index gives it (with CUDA on Linux x86-64). For a small CPU-only image pass PyTorch's
# CPU wheel index: docker compose build --build-arg TORCH_INDEX_URL=...
ARG TORCH_INDEX_URL=""

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app
WORKDIR /app

# Dependencies in a layer of their own: a change of code does not fetch torch again.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN if [ -n "$TORCH_INDEX_URL" ]; then \
        pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX_URL" torch torchvision; \
    fi \
    && mkdir core ingest models workers storage app \
    && pip install --no-cache-dir --constraint constraints.txt . \
    && pip uninstall --yes framewatch

COPY core core
COPY ingest ingest
COPY models models
COPY workers workers
COPY storage storage
COPY app app
RUN pip install --no-cache-dir --no-deps . \
    && useradd --create-home --uid 1000 framewatch \
    && mkdir /data && chown framewatch:framewatch /data

USER framewatch
ENV FRAMEWATCH_DATA_DIR=/data
VOLUME /data
CMD ["framewatch", "--help"]
