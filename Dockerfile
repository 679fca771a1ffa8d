# A server of models on a CPU. Build: docker build -t unpaired .
# Run: docker run --rm --read-only --tmpfs /tmp -p 127.0.0.1:8000:8000 -v ./runs/mine:/models/mine:ro \
#        -v ./token:/run/secrets/token:ro unpaired /models/mine --host 0.0.0.0 --token-file /run/secrets/token
FROM python:3.13-slim AS build

WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/unpaired \
 && /opt/unpaired/bin/pip install --no-cache-dir --constraint constraints.txt \
      --extra-index-url https://download.pytorch.org/whl/cpu '.[torch,serve,geo]'

FROM python:3.13-slim

COPY --from=build /opt/unpaired /opt/unpaired
RUN useradd --system --uid 10001 --no-create-home unpaired
USER 10001
# The choice of the fastest precision is remembered in the cache folder; results wait in /tmp.
ENV PATH=/opt/unpaired/bin:$PATH PYTHONDONTWRITEBYTECODE=1 XDG_CACHE_HOME=/tmp/cache
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD \
  ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
ENTRYPOINT ["unpaired", "serve"]
CMD ["--help"]
