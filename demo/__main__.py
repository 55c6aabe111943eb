"""`python -m demo`: starts an installation on this machine, runs views on real data, and checks the results."""

import argparse
import asyncio
import sys
import time
from contextlib import suppress
from pathlib import Path

import matview
from demo import check, data
from demo.console import DemoError, say, say_table
from demo.run import Result, build
from orchestrator.cli.bootstrap import bootstrap
from orchestrator.cli.console import link_of
from orchestrator.cli.output import Failure, fail, set_up_streams
from orchestrator.devstack.home import DevInfo, StackError
from orchestrator.devstack.ports import choose_ports
from orchestrator.devstack.stack import DevStack, Ports

_INTERRUPTED = 130
_SHOWN_VIEW = "carrier_report"
_SHOWN_QUERY = f"FROM {_SHOWN_VIEW} LIMIT 5"
_OFFERED_QUERY = "SELECT origin, sum(flights) AS flights FROM busiest_routes GROUP BY 1 ORDER BY 2 DESC"


def main() -> int:
    """Run the demonstration, and return the exit status of the process."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Shows Matview on a year of flights.")
    parser.add_argument("--exit", action="store_true", help="end after the check instead of staying up")
    parser.add_argument("--home", type=Path, default=Path(".demo"), help="where everything is kept")
    arguments = parser.parse_args()
    set_up_streams()
    try:
        return asyncio.run(_demonstrate(arguments.home.expanduser().resolve(), stay=not arguments.exit))
    except (DemoError, Failure, StackError) as error:
        fail(str(error))
        return 1
    except PermissionError as error:
        fail(f'{error.filename} cannot be written. Name another folder, as in: make demo ARGS="--home /tmp/demo"')
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED


async def _demonstrate(home: Path, *, stay: bool) -> int:
    began = time.monotonic()
    folder = home / "data"
    if await asyncio.to_thread(data.prepare, folder):
        say(f"Prepared the data: {folder}")
    say("Starting PostgreSQL, Temporal, the API and a worker ...")
    ready: asyncio.Future[DevInfo] = asyncio.get_running_loop().create_future()
    stack = asyncio.create_task(_stack(home).run_until_stopped(ready.set_result))
    work = asyncio.create_task(_work(ready, folder, home, began))
    try:
        # The stack ends by itself when Ctrl-C is pressed, or when it cannot be kept running.
        await asyncio.wait({stack, work}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            await stack
            return _INTERRUPTED
        status = work.result()
        if stay:
            say("\nCtrl-C stops everything; the next start finds it again.")
            await stack
        return status
    finally:
        await _stop(work)
        await _stop(stack)


def _stack(home: Path) -> DevStack:
    return DevStack(
        home / "stack",  # apart from the data: no source table may read below the folder of a stack
        Ports(api=_port(8000), temporal=_port(7233), ui=_port(8233)),
        bootstrap=bootstrap,
        say=say,
        extra_source_roots=[home / "data"],
    )


def _port(usual: int) -> int:
    """The usual port if nothing listens there, otherwise 0, which stands for any free port."""
    try:
        return choose_ports({"--port": usual})[0]
    except StackError:
        return 0


async def _work(ready: asyncio.Future[DevInfo], folder: Path, home: Path, began: float) -> int:
    info = await ready
    say(f"Ready after {time.monotonic() - began:.1f} s. Saving the views and running them ...\n")
    results = await build(info, folder)
    _show_results(results)
    await asyncio.to_thread(_show_rows, info)
    wrong = await _check(folder, results)
    await asyncio.to_thread(_show_ways_on, info, home)
    say(f"\nAll of this took {time.monotonic() - began:.1f} seconds.")
    return 1 if wrong else 0


async def _check(folder: Path, results: dict[str, Result]) -> bool:
    """Compare the results with plain DuckDB's, and return whether one of them is wrong."""
    folders = {name: result.folder for name, result in results.items()}
    troubles = await asyncio.to_thread(check.differences, folder, folders)
    wrong = {name: trouble for name, trouble in troubles.items() if trouble}
    for name, trouble in wrong.items():
        say(f"{name} differs from plain DuckDB's result: {trouble}", style="bold red")
    equal = f"{len(troubles) - len(wrong)} of {len(troubles)} results equal plain DuckDB's"
    say(equal, style="bold red" if wrong else "bold green")
    return bool(wrong)


def _show_results(results: dict[str, Result]) -> None:
    say()
    say_table(
        ("VIEW", "ROWS", "BYTES", "SECONDS", "FILES"),
        [
            (
                *(name, f"{result.run['rows']:,}", f"{result.run['bytes']:,}"),
                *(f"{result.run['duration_seconds']:.2f}", _short(result.folder)),
            )
            for name, result in results.items()
        ],
        numbers=("ROWS", "BYTES", "SECONDS"),
    )


def _show_rows(info: DevInfo) -> None:
    """Query a view as any client does, and show what the API answers."""
    try:
        with matview.connect(info["api_url"], key=info["api_key"], project=int(info["project_id"])) as connection:
            found = connection.query(_SHOWN_QUERY).to_arrow()
    except matview.MatviewError as error:
        raise DemoError(f"{_SHOWN_QUERY}: {error}") from None
    say(f"\n{_SHOWN_QUERY};\n")
    say_table(found.column_names, list(zip(*found.to_pydict().values(), strict=True)))
    say()


def _short(path: Path) -> str:
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def _show_ways_on(info: DevInfo, home: Path) -> None:
    # Beside the interpreter that runs this: it is found also where no environment is activated.
    command = _short(Path(sys.executable).parent / "matview")
    say(
        f"""
  Console      {link_of(info)}   (signs in once)
  API          {info["api_url"]}   (documentation: {info["api_url"]}/docs)
  Temporal UI  {info["temporal_ui_url"]}
  API key      {info["api_key"]}   (project {info["project_id"]})
  State        {home}

In another terminal:

  export MATVIEW_API_URL={info["api_url"]} MATVIEW_API_KEY={info["api_key"]} MATVIEW_PROJECT_ID={info["project_id"]}
  {command} view list
  {command} view rows {_SHOWN_VIEW}
  {command} query "{_OFFERED_QUERY}"
  {command} view run {_SHOWN_VIEW} --wait"""
    )


async def _stop(task: asyncio.Task[int] | asyncio.Task[None]) -> None:
    """Cancel a task whose result is already known, or no longer matters."""
    task.cancel()
    with suppress(asyncio.CancelledError, DemoError, Failure, StackError):
        await task


if __name__ == "__main__":
    sys.exit(main())
