"""Where things are found over HTTP, for people who meet them in the Temporal UI."""

from uuid import UUID


class ApiUrls:
    """Addresses of this installation's API, as others reach it."""

    def __init__(self, public_url: str) -> None:
        self._base = public_url.rstrip("/")

    def view(self, project_id: int, saved_query_id: UUID) -> str:
        """The address of a view."""
        return f"{self._base}/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}/"
