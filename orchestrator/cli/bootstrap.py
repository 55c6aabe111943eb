"""Creates the developer's project and API key when `matview dev` starts for the first time."""

from orchestrator.catalog.database import Database
from orchestrator.devstack.home import DevInfo
from orchestrator.model.errors import NotAuthenticated, NotFound
from orchestrator.model.principal import Project, Scope
from orchestrator.services.access import AccessService


async def bootstrap(database_url: str, previous: DevInfo | None) -> dict[str, str]:
    """Return `project_id` and `api_key`: those of the last start if they still work, otherwise new ones."""
    database = Database(database_url, pool_size=1)
    access = AccessService(database)
    try:
        if previous is not None and await _works(access, previous["api_key"]):
            return {"project_id": previous["project_id"], "api_key": previous["api_key"]}
        project = await _project(access, previous)
        key = await access.create_key(
            email="developer@localhost",
            label="made by matview dev",
            scopes=list(Scope),
            project_ids=None,
            first_name="Developer",
        )
        return {"project_id": str(project.id), "api_key": key.token}
    finally:
        await access.close()
        await database.close()


async def _project(access: AccessService, previous: DevInfo | None) -> Project:
    """The project of the last start, so that its views stay when only the key was revoked; otherwise a new one."""
    try:
        if previous is not None:
            return await access.get_project(int(previous["project_id"]))
    except (NotFound, ValueError):
        pass
    return await access.create_project("default")


async def _works(access: AccessService, token: str) -> bool:
    try:
        await access.authenticate(token)
    except NotAuthenticated:
        return False
    return True
