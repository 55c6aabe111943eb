"""A server of files that counts, in a process of its own: what a source table far away costs in requests and bytes."""

import asyncio
import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route


def app(folder: Path) -> Starlette:
    """Serves the files of a folder. Each answer waits for so many milliseconds as `/delay/{ms}` has said last."""
    counts = {"requests": 0, "bytes": 0, "delay": 0}

    async def file(request: Request) -> Response:
        await asyncio.sleep(counts["delay"] / 1000)
        path = folder / request.path_params["name"]
        found = FileResponse(path)
        counts["requests"] += 1
        if request.method == "GET":
            start, _, end = request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
            size = path.stat().st_size
            counts["bytes"] += min(size, int(end) + 1 if end else size) - int(start)
        return found

    async def take(_: Request) -> Response:
        taken = JSONResponse(counts)
        counts.update(requests=0, bytes=0)
        return taken

    async def delay(request: Request) -> Response:
        counts["delay"] = request.path_params["ms"]
        return Response()

    return Starlette(
        routes=[
            Route("/counts", take),
            Route("/delay/{ms:int}", delay),
            Route("/{name}", file, methods=["GET", "HEAD"]),
        ]
    )


if __name__ == "__main__":
    uvicorn.run(app(Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="error", access_log=False)
