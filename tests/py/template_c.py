"""Chat templates rendered by Tessera (through ctypes) and by Python's jinja2, set up as transformers does it.

    render_c(source, variables)         -> text, or raises TsrError
    render_reference(source, variables) -> text, or raises whatever jinja2 raises
"""
import ctypes as C
import datetime
import functools
import json

import jinja2
import jinja2.ext
import jinja2.sandbox

import tsr

NOW = 1722470400 + 12345  # a fixed moment (2024-08-01, UTC) for strftime_now()


class Limits(C.Structure):
    _fields_ = [("max_steps", C.c_uint64), ("max_output", C.c_size_t), ("now", C.c_long)]


@functools.lru_cache(None)
def _functions():
    lib, jansson, libc = tsr.lib(), C.CDLL("libjansson.so.4"), C.CDLL(None)
    lib.tsr_template_parse.restype = C.c_void_p
    lib.tsr_template_parse.argtypes = [C.c_char_p, C.c_size_t, C.POINTER(tsr.Error)]
    lib.tsr_template_free.argtypes = [C.c_void_p]
    lib.tsr_template_free.restype = None
    lib.tsr_template_render.argtypes = [C.c_void_p, C.c_void_p, C.POINTER(Limits), C.POINTER(C.c_void_p),
                                        C.POINTER(C.c_size_t), C.POINTER(tsr.Error)]
    jansson.json_loads.restype = C.c_void_p
    jansson.json_loads.argtypes = [C.c_char_p, C.c_size_t, C.c_void_p]
    jansson.json_delete.argtypes = [C.c_void_p]
    libc.free.argtypes = [C.c_void_p]
    return lib, jansson, libc


def render_c(source, variables, max_steps=0, max_output=0):
    lib, jansson, libc = _functions()
    err = tsr.Error()
    data = source.encode() if isinstance(source, str) else source
    template = lib.tsr_template_parse(data, len(data), C.byref(err))
    if not template:
        raise tsr.TsrError(err.code, err.text())
    allow_nul = 0x10  # JSON_ALLOW_NUL
    root = jansson.json_loads(json.dumps(variables).encode(), allow_nul, None)
    assert root, "jansson refuses the variables"
    out, n = C.c_void_p(), C.c_size_t()
    code = lib.tsr_template_render(template, root, C.byref(Limits(max_steps, max_output, NOW)), C.byref(out),
                                   C.byref(n), C.byref(err))
    jansson.json_delete(root)  # its only reference
    lib.tsr_template_free(template)
    if code != tsr.OK:
        assert not out.value and err.code == code
        raise tsr.TsrError(code, err.text())
    text = C.string_at(out, n.value)
    libc.free(out)
    return text.decode()


class Generation(jinja2.ext.Extension):
    """{% generation %} ... {% endgeneration %}, which transformers renders as a call block."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def _raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def _tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@functools.lru_cache(None)
def environment(mutable=False):
    """mutable: list.append() and the like are allowed, as Tessera does."""
    sandbox = jinja2.sandbox.SandboxedEnvironment if mutable else jinja2.sandbox.ImmutableSandboxedEnvironment
    env = sandbox(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW).strftime(f)
    return env


@functools.lru_cache(64)
def compile_reference(source, mutable=False):
    return environment(mutable).from_string(source)


def render_reference(source, variables, mutable=False):
    return compile_reference(source, mutable).render(**json.loads(json.dumps(variables)))


def both(source, variables, mutable=False):
    """(text or None, error or "") of Tessera and of jinja2."""
    try:
        mine = render_c(source, variables), ""
    except tsr.TsrError as e:
        mine = None, str(e)
    try:
        theirs = render_reference(source, variables, mutable), ""
    except Exception as e:  # jinja2 lets Python's own exceptions through
        theirs = None, f"{type(e).__name__}: {e}"
    return mine, theirs
