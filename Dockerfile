# One image for every service of Airflow: the DAGs and all that they use, at one revision.
#
#   BASE            the image to build on; any of Debian 12 will do
#   REVISION        the commit of the checkout, with -dirty if it has edits
#   PACKAGING_URL   where to find other revisions of the packaging files; empty for none
#   secret ca       certificates to trust besides Debian's, as PEM: a company's proxy's, for one
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS base
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
RUN --mount=type=secret,id=ca \
    apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      ca-certificates curl git gpg gpg-agent openssh-client python3 sqv \
 && rm -rf /var/lib/apt/lists/* /var/log/apt /var/log/dpkg.log \
 && if [ -s /run/secrets/ca ]; then cp /run/secrets/ca /usr/local/share/ca-certificates/ca.crt; fi \
 && update-ca-certificates 2>&1 | sed '/does not contain exactly one certificate/d'

# Only this stage has what installs packages.
FROM base AS packages
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/* \
 && python3 -m venv /opt/venv
COPY requirements.txt /tmp/requirements.txt
# uv takes seconds where pip takes more than a minute; pip only fetches the pinned uv.
RUN --mount=type=cache,target=/root/.cache \
    export PIP_CERT=/etc/ssl/certs/ca-certificates.crt UV_SYSTEM_CERTS=1 UV_LINK_MODE=copy \
 && /opt/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
      --requirement <(sed -n '/^uv==/,/[^\\]$/p' /tmp/requirements.txt) \
 # Whoever runs the services may not write here, so what Python compiles is made now.
 && /opt/venv/bin/uv pip sync --quiet --compile-bytecode --require-hashes --python /opt/venv/bin/python \
      /tmp/requirements.txt

FROM base
RUN useradd --uid 50000 --create-home --home-dir /opt/airflow --shell /usr/sbin/nologin airflow \
 # A new volume takes over whose these are.
 && install --directory --owner=airflow --group=airflow /opt/airflow/logs /var/lib/hhvm-packaging/{locks,work} \
      /srv/s3/{hhvm-scratch,hhvm-downloads} \
 && install --directory /opt/hhvm-packaging \
 # Git repositories that are mounted may belong to any user.
 && git config --system --add safe.directory '*'
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW_CONFIG=/opt/hhvm-packaging/deploy/compose/airflow.cfg \
    PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/hhvm-packaging:/opt/hhvm-packaging/plugins \
    PYTHONUNBUFFERED=1 \
    REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    AWS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
COPY --from=packages /opt/venv /opt/venv
WORKDIR /opt/hhvm-packaging

# From here on in the order of how seldom it changes.
ARG PACKAGING_URL=
RUN if [ -n "$PACKAGING_URL" ]; then \
      git init --quiet && git remote add origin "$PACKAGING_URL" && chown --recursive airflow:airflow .git; \
    fi
COPY deploy deploy
COPY bin bin
COPY jobs jobs
COPY distros distros
COPY plugins plugins
COPY dags dags
COPY docker-compose.yaml .
RUN python3 -m compileall -q deploy plugins dags
ARG REVISION=unknown
RUN echo "$REVISION" >REVISION
ENV AIRFLOW__API__INSTANCE_NAME="HHVM packaging ${REVISION}"
LABEL org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.title="HHVM packaging"
USER 50000
CMD ["airflow", "version"]
