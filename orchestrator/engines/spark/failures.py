"""Explains why a query has failed on the cluster: without paths of the store, and whether trying again can help."""

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from orchestrator.engines.spark.relations import FilesRelation, TextRelation
from orchestrator.model.errors import OrchestratorError, StoreUnavailable

# As Sail says it, and as Apache Spark does.
_OBJECT_STORE = re.compile(r"Generic (S3|GCS|MicrosoftAzure) error|Service: (Amazon )?S3|AmazonS3Exception")
_LONGEST_REASON = 300


def explained(
    error: OrchestratorError, target_url: str, relations: Iterable[FilesRelation | TextRelation]
) -> OrchestratorError:
    """The error of a query that writes to `target_url`. StoreUnavailable if the cluster could not reach a bucket."""
    message = _without(target_url, "the result", error.message, rest=r"[^\s'\"]*")
    for relation in relations:
        for url in relation.urls if isinstance(relation, FilesRelation) else ():
            message = _without(url, f'a file of "{relation.name}"', message)
    if _OBJECT_STORE.search(message):
        reason = message.partition("\n")[0][:_LONGEST_REASON]
        return StoreUnavailable(f"The cluster cannot use the object store: {reason}")
    return error.changed(message)


def _without(url: str, name: str, message: str, rest: str = "") -> str:
    """The message with `name` in place of a URL, in the forms in which servers show it: each ends with its path."""
    path = urlsplit(url).path
    for form in {path, unquote(path)}:
        message = re.sub(rf"[^\s'\"]*{re.escape(form)}{rest}", lambda _: name, message)
    return message
