# One image for every process of Matview: the command says which. docker-compose.yml runs it, docs/deploying.md
# explains.

FROM python:3.13.17-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

# The environment has no pip of its own: nothing is installed into it later.
RUN python -m venv --without-pip /opt/matview
COPY deploy/requirements-build.lock deploy/requirements-server.lock deploy/
RUN pip install --require-hashes --only-binary :all: --requirement deploy/requirements-build.lock \
    && pip --python /opt/matview install --no-compile --require-hashes --only-binary :all: \
        --requirement deploy/requirements-server.lock

COPY LICENSE README.md pyproject.toml ./
COPY api api
COPY matview matview
COPY orchestrator orchestrator
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/matview install --no-compile --no-deps --no-index dist/*.whl
# Compiled here, since a container cannot write. Without a check of times: a copy into an image may round them, and then
# each start would compile again.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/matview


FROM python:3.13.17-slim-trixie
ENV PATH=/opt/matview/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The image of Python comes without the compiled files of its own library.
RUN python -m compileall -q -f -x site-packages --invalidation-mode unchecked-hash \
    "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# A volume that is mounted here while it is empty takes the owner of the folder.
RUN groupadd --gid 10001 matview \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin matview \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/matview
COPY --from=build /opt/matview /opt/matview
WORKDIR /
USER 10001:10001
ENTRYPOINT ["matview"]
CMD ["--help"]
