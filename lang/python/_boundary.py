# SPDX-License-Identifier: MIT
"""Where the leading part of a main module ends.

The module runs by itself, in order, until it reaches a statement that is not
leading: an import, a definition, an assignment of something that is computed
without calls, or one of a few calls that only prepare for imports (sys.path,
warnings, os.environ). `if`, `try` and some `with` statements are entered, not
judged: their own statements are. So one boundary per block is enough, and the
first one that is reached is the readiness point.

Stopping is transparent wherever it happens, since the interpreter's own frames
wait there. A boundary that is found too early costs time, never correctness.

The `ast` module may not be loaded (the program did not ask for it), so nodes are told
apart by the names of their classes, which compile() makes without it.
"""

import posix
import sys

ONLY_AST = 0x400        # PyCF_ONLY_AST

LEADING = {"Import", "ImportFrom", "FunctionDef", "AsyncFunctionDef", "ClassDef",
           "Pass", "Global", "TypeAlias"}

QUIET = {"Constant", "Name", "Attribute", "Tuple", "List", "Set", "Dict", "UnaryOp", "BinOp",
         "BoolOp", "Compare", "Subscript", "Slice", "IfExp", "Starred", "JoinedStr", "FormattedValue"}

# a template that has looked at its arguments serves these arguments only: better stop before
ARGUMENTS = {"argv", "orig_argv"}

PREPARING = {"sys.path.insert", "sys.path.append", "sys.setrecursionlimit", "os.environ.setdefault",
             "warnings.filterwarnings", "warnings.simplefilter", "warnings.resetwarnings",
             "filterwarnings", "simplefilter", "matplotlib.use"}

PATHS = {"os.path.dirname", "os.path.abspath", "os.path.join", "os.path.realpath", "os.path.normpath",
         "os.getcwd", "str", "Path", "pathlib.Path"}

MANAGERS = {"warnings.catch_warnings", "catch_warnings", "contextlib.suppress", "suppress"}


def kind(node):
    return type(node).__name__


def dotted(node):
    """'os.path.join' for such an expression, else None"""
    parts = []
    while kind(node) == "Attribute":
        parts.append(node.attr)
        node = node.value
    if kind(node) != "Name":
        return None
    parts.append(node.id)
    return ".".join(reversed(parts))


def fields(node):
    for name in node._fields:
        value = getattr(node, name, None)
        for child in value if isinstance(value, list) else (value,):
            if hasattr(child, "_fields") and hasattr(child, "lineno"):
                yield child


def is_quiet(node, calls=()):
    """Computed without calls, but for those to functions named in `calls`"""
    if node is None or kind(node) == "Lambda":
        return True
    if kind(node) == "Call":
        return (dotted(node.func) in calls and all(is_quiet(a, calls) for a in node.args)
                and all(is_quiet(k.value, calls) for k in node.keywords))
    if kind(node) not in QUIET:
        return False
    if getattr(node, "attr", None) in ARGUMENTS or getattr(node, "id", None) in ARGUMENTS:
        return False
    return all(is_quiet(child, calls) for child in fields(node))


def is_name(target):
    if kind(target) in ("Tuple", "List"):
        return all(is_name(t) for t in target.elts)
    if kind(target) == "Subscript":
        return dotted(target.value) == "os.environ" and is_quiet(target)
    return kind(target) == "Name"


def is_leading(statement):
    name = kind(statement)
    if name in LEADING:
        return True
    if name == "Assign":
        return all(is_name(t) for t in statement.targets) and is_quiet(statement.value)
    if name == "AnnAssign":
        return is_name(statement.target) and is_quiet(statement.annotation) and is_quiet(statement.value)
    if name == "AugAssign":
        return kind(statement.target) == "Name" and is_quiet(statement.value)
    if name == "Delete":
        return all(kind(t) == "Name" for t in statement.targets)
    if name == "Expr":
        value = statement.value
        if kind(value) == "Call":
            return is_quiet(value, PREPARING) or (
                dotted(value.func) in PREPARING and is_quiet(value, PREPARING | PATHS))
        return kind(value) == "Constant"
    return False


def blocks(statement):
    """The blocks of a statement that is entered, or None if it is a boundary itself"""
    name = kind(statement)
    if name == "If" and is_quiet(statement.test):
        return [statement.body, statement.orelse]
    if name in ("Try", "TryStar") and all(is_quiet(h.type) for h in statement.handlers):
        return [statement.body, statement.orelse, statement.finalbody] + [h.body for h in statement.handlers]
    if name == "With" and all(kind(i.context_expr) == "Call" and is_quiet(i.context_expr, MANAGERS)
                              for i in statement.items):
        return [statement.body]
    return None


def find_boundaries(body, leading, found):
    """Collect the boundaries of a block, and what is before them in `leading`"""
    for statement in body:
        if is_leading(statement):
            leading.append(statement)
            continue
        inner = blocks(statement)
        if inner is None:
            found.append(statement)
            return
        for block in inner:
            find_boundaries(block, leading, found)


def could_use_argv(statement):
    """Could a leading statement, when it is executed, look into a list `argv` of the main module's? A body of a function
    does when somebody calls it: a decorator, a default value, a class"""
    if kind(statement) in ("FunctionDef", "AsyncFunctionDef"):
        defaults = statement.args.defaults + statement.args.kw_defaults
        return bool(statement.decorator_list) or not all(is_quiet(d) for d in defaults)
    if kind(statement) == "ClassDef":
        return True
    # other leading statements don't name it (is_quiet), and call nothing of the module's
    return False


class Boundary:
    """lines: those where to stop. offsets: where to stop within a line that starts with leading
    statements, as offsets of instructions (`python3 -c "import a; b()"`); empty if no line is shared."""

    def __init__(self, tree, code, filename):
        leading, found = [], []
        find_boundaries(tree.body, leading, found)
        self.keeps_argv = not any(could_use_argv(s) for s in leading)
        self.lines = set()
        for statement in found:
            self.lines.update(range(statement.lineno, statement.end_lineno + 1))
        self.offsets = set()
        if any(s.end_lineno in self.lines for s in leading):
            if hasattr(code, "co_positions"):
                self.offsets = offsets_by_position(code, found)
            else:
                self.offsets = offsets_by_prefix(code, tree, found, filename)


def offsets_by_position(code, found):
    """The first instruction of each boundary. From 3.11 on, code knows columns, unless -X no_debug_ranges"""
    offsets = set()
    positions = list(code.co_positions())
    for statement in found:
        start = statement.lineno, statement.col_offset
        end = statement.end_lineno, statement.end_col_offset
        for i, (line, _, column, _) in enumerate(positions):
            if line is not None and column is not None and start <= (line, column) < end:
                offsets.add(2 * i)
                break
    return offsets


def offsets_by_prefix(code, tree, found, filename):
    """3.9 and 3.10 have no columns: compile what stands before the boundary, and count"""
    if not found or found[0] not in tree.body:
        return set()
    tree.body = tree.body[:tree.body.index(found[0])]
    prefix = compile(tree, filename, "exec", dont_inherit=True).co_code[:-4]    # without `return None`
    if code.co_code[:len(prefix):2] != prefix[::2]:
        return set()
    return {len(prefix)}


def parse_main(code, module_globals, words):
    """words: the process's argv. The Boundary of a main module, by its code object; ValueError with a reason if it cannot be told"""
    filename = code.co_filename
    if filename == "<string>":
        source = command_source(code, words)
    else:
        source = file_source(filename, module_globals)
        if any(word[:1] == "-" and "x" in word for word in words):      # -x skips the first line, keeping its number
            skipped = b"\n" + source.partition(b"\n")[2]
            if matches(skipped, code):
                source = skipped
    return Boundary(parse_quietly(source, filename), code, filename)


def command_source(code, words):
    """The text after -c, which no version keeps: the word of argv, or the end of it, that gives this code"""
    for word in words:
        if matches(word, code):
            return word
        if word[:1] == "-" and "c" in word:     # -Ec'print(1)': behind the `c` of a cluster of flags
            text = word[word.index("c") + 1:]
            if matches(text, code):
                return text
    raise ValueError("the text of -c was not found")


def matches(text, code):
    try:
        return compile_quietly(text, "<string>", 0) == code
    except (SyntaxError, ValueError):
        return False


def file_source(filename, module_globals):
    try:
        if posix.stat(filename).st_mode & 0o170000 == 0o100000:
            data = read_file(filename)
            if data[2:4] == b"\r\n" and b"\0" in data[:16]:
                raise ValueError("the main module is compiled, without source: " + filename)
            return data
    except OSError:
        pass
    loader, kind = module_globals.get("__loader__"), names_of_module("zipimport").get("zipimporter")
    try:
        if type(loader) is kind:        # another's get_data() is code of the program's
            return loader.get_data(filename)
    except OSError:
        pass
    raise ValueError("no source to read for the main module " + filename) from None


def read_file(filename):
    fd = posix.open(filename, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return posix.read(fd, posix.fstat(fd).st_size + 1)
    finally:
        posix.close(fd)


def parse_quietly(source, filename):
    try:
        return compile_quietly(source, filename, ONLY_AST)
    except SyntaxError:
        # -x skips the first line, keeping its number
        return compile_quietly(b"\n" + source.partition(b"\n")[2], filename, ONLY_AST)


def compile_quietly(source, filename, flags):
    """Without the SyntaxWarnings that compiling the module has given already.

    An entry is put into the list of filters for a moment, without warnings'
    _filters_mutated(): that would forget which warnings were shown once.
    """
    import _warnings        # always loaded
    filters = names_of_module("warnings").get("filters", _warnings.filters)
    entry = ("ignore", None, Warning, None, 0)
    filters.insert(0, entry)
    try:
        return compile(source, filename, "exec", flags, True)
    finally:
        filters.remove(entry)
