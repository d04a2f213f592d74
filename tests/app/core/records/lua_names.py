"""A check of names in a Lua file: globals that nobody defined, and locals that nobody uses."""

from __future__ import annotations

from luaparser import ast, astnodes

# What Redis and Lua 5.1 offer, as far as the scripts need it; `require` is defined by app.core.records.lua.
GLOBALS = frozenset("ARGV cjson redis require ipairs pairs tonumber math string table".split())


class NameCheck:
    """Names of one Lua file; `problems` lists what is wrong with them."""

    def __init__(self, text: str) -> None:
        self.problems: list[str] = []
        self._scopes: list[dict[str, bool]] = []  # for each local of a block whether it was read
        self._visit(ast.parse(text))

    def _visit(self, node: object) -> None:
        if isinstance(node, list):
            for one in node:
                self._visit(one)
        elif isinstance(node, astnodes.Node):
            special = getattr(self, f"_{type(node).__name__.lower()}", None)
            if special is not None:
                special(node)
            else:
                self._visit([value for name, value in vars(node).items() if not name.startswith("_")])

    def _open(self, *names: object) -> None:
        self._scopes.append({})
        self._declare(*names)

    def _close(self) -> None:
        unused = [name for name, is_read in self._scopes.pop().items() if not is_read and name != "_"]
        self.problems += [f"{name} is never read" for name in unused]

    def _declare(self, *names: object) -> None:
        for name in names:
            if isinstance(name, astnodes.Name):
                if name.id in self._scopes[-1] and name.id != "_":
                    self.problems.append(f"{name.id} is declared twice")
                self._scopes[-1][name.id] = False

    def _block(self, node: astnodes.Block) -> None:
        self._open()
        self._visit(node.body)
        self._close()

    def _name(self, node: astnodes.Name) -> None:
        for scope in reversed(self._scopes):
            if node.id in scope:
                scope[node.id] = True
                return
        if node.id not in GLOBALS:
            self.problems.append(f"{node.id} is not defined")

    def _localassign(self, node: astnodes.LocalAssign) -> None:
        self._visit(node.values)
        self._declare(*node.targets)

    def _assign(self, node: astnodes.Assign) -> None:
        self._visit(node.values)
        for target in node.targets:
            if not isinstance(target, astnodes.Name):
                self._visit(target)
            elif not any(target.id in scope for scope in self._scopes):
                self.problems.append(f"{target.id} is assigned but not local")

    def _function(self, node: astnodes.Function) -> None:
        if isinstance(node.name, astnodes.Name):
            self.problems.append(f"function {node.name.id} is not local")
        self._visit(node.name)
        self._anonymousfunction(node)

    def _localfunction(self, node: astnodes.LocalFunction) -> None:
        self._declare(node.name)
        self._anonymousfunction(node)

    def _anonymousfunction(self, node: astnodes.Function | astnodes.LocalFunction | astnodes.AnonymousFunction) -> None:
        self._open(*node.args)
        self._visit(node.body)
        self._close()

    def _forin(self, node: astnodes.Forin) -> None:
        self._visit(node.iter)
        self._open(*node.targets)
        self._visit(node.body)
        self._close()

    def _fornum(self, node: astnodes.Fornum) -> None:
        self._visit([node.start, node.stop, node.step])
        self._open(node.target)
        self._visit(node.body)
        self._close()

    def _index(self, node: astnodes.Index) -> None:
        self._visit(node.value)
        if node.notation is astnodes.IndexNotation.SQUARE:
            self._visit(node.idx)

    def _field(self, node: astnodes.Field) -> None:
        self._visit([node.key, node.value] if node.between_brackets else node.value)
