"""The Lua scripts that change the records: loaded into Redis once, called by name with named arguments.

Each file in `scripts/` is one script. Redis runs a script as a whole, so two processes can never both succeed with the
same change. A file in `scripts/lib/` is a Lua module, which scripts and other modules get by `require('<name>')`; the
module `keys` is made from `app.core.records.keys`. The text that Redis gets is all modules followed by the script.

A call sends the script's digest and one JSON document with the arguments (EVALSHA). The text is sent only when Redis
does not know the digest, as after a restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, cast

import redis
import redis.asyncio

from app.core.records.keys import Key

Argument = str | int | Sequence[str] | Mapping[str, str]


def _texts(folder: str) -> dict[str, str]:
    """Return the texts of all Lua files in a folder of this package, by name without suffix."""
    paths = sorted((path for path in files(__package__).joinpath(folder).iterdir()), key=lambda path: path.name)
    return {
        path.name.removesuffix(".lua"): path.read_text(encoding="utf-8") for path in paths if path.name.endswith(".lua")
    }


def _modules() -> str:
    """Return Lua code that defines `require` for the modules; a module runs when it is first required."""
    names = ", ".join(f"{key.name.lower()} = {json.dumps(key.value)}" for key in Key)
    modules = {"keys": f"return {{{names}}}\n"} | _texts("scripts/lib")
    loaders = "".join(f"loaders.{name} = function()\n{text}end\n" for name, text in modules.items())
    return f"""local loaders, loaded = {{}}, {{}}
local function require(name)
  if not loaded[name] then loaded[name] = loaders[name]() end
  return loaded[name]
end
{loaders}"""


def _complete_scripts() -> Mapping[str, str]:
    modules = _modules()
    return MappingProxyType({name: modules + text for name, text in _texts("scripts").items()})


SCRIPTS: Final = _complete_scripts()


class Scripts:
    """Lua scripts of the records: one method for each type of answer; all may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis) -> None:
        self._scripts = {name: client.register_script(text) for name, text in SCRIPTS.items()}

    def _call(self, name: str, arguments: Mapping[str, Argument]) -> Any:
        return self._scripts[name](keys=[], args=[json.dumps(arguments)])

    def text(self, name: str, **arguments: Argument) -> str:
        """Run a script that answers with a text."""
        return cast("str", self._call(name, arguments))

    def texts(self, name: str, **arguments: Argument) -> list[str]:
        """Run a script that answers with a list of texts."""
        return cast("list[str]", self._call(name, arguments))

    def number(self, name: str, **arguments: Argument) -> int:
        """Run a script that answers with an integer."""
        return cast("int", self._call(name, arguments))

    def numbers(self, name: str, **arguments: Argument) -> list[int]:
        """Run a script that answers with a list of integers."""
        return cast("list[int]", self._call(name, arguments))

    def flag(self, name: str, **arguments: Argument) -> bool:
        """Run a script that answers with 0 or 1."""
        return bool(self._call(name, arguments))


class LoopScripts:
    """Lua scripts for an event loop; may raise `redis.RedisError`."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._scripts = {name: client.register_script(text) for name, text in SCRIPTS.items()}

    async def answer(self, name: str, **arguments: Argument) -> list[Any]:
        """Run a script that answers with a list of anything."""
        return cast("list[Any]", await self._scripts[name](keys=[], args=[json.dumps(arguments)]))
