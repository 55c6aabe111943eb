"""Addresses of the API, shown to people in the Temporal UI."""

from uuid import UUID


class ApiUrls:
    """Addresses of this installation's API, below its public URL."""

    def __init__(self, public_url: str) -> None:
        self._base = public_url.rstrip("/")

    def view(self, project_id: int, saved_query_id: UUID) -> str:
        """The address of a view."""
        return f"{self._base}/api/projects/{project_id}/warehouse_saved_queries/{saved_query_id}/"
