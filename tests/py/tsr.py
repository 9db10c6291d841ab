"""ctypes view of include/tessera.h for the tests, and where things are.

    from tsr import lib, check, Error
    err = Error()
    p = lib().some_internal_function(..., byref(err))        # any symbol of the library, internal ones included
    check(code, err)                                         # raises TsrError(code, message)

    model = tsr.Model(path, cpu_tier="avx2"); s = model.session(n_ctx=64, kv_f32=True, n_threads=1)
    logits = s.eval(tokens)                                  # numpy [n, n_vocab]

The library is TSR_BUILD_DIR/tests/libtessera_internal.so (default build/release); it is loaded on first use.
"""
import ctypes as C
import functools
import os
import pathlib

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD_DIR = pathlib.Path(os.environ.get("TSR_BUILD_DIR", ROOT / "build/release")).absolute()
LIBRARY = BUILD_DIR / "tests/libtessera_internal.so"
BINARY = BUILD_DIR / "cli/tessera"
SHARED = pathlib.Path(os.environ.get("TSR_SHARED", ROOT.parent / "shared"))
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "tessera/models"

CODES = ("OK", "E_ARG", "E_NOMEM", "E_IO", "E_FORMAT", "E_UNSUPPORTED", "E_LIMIT", "E_TEMPLATE", "E_CANCELLED")
OK, E_ARG, E_NOMEM, E_IO, E_FORMAT, E_UNSUPPORTED, E_LIMIT, E_TEMPLATE, E_CANCELLED = range(len(CODES))
ADD_SPECIAL, PARSE_SPECIAL, RENDER_SPECIAL = 1, 2, 4
LOGITS_NONE, LOGITS_LAST, LOGITS_ALL = range(3)
KV_F16, KV_F32 = range(2)
TIERS = ("scalar", "avx2", "avxvnni", "avx512", "avx512bf16", "amx", "amxfp16")
REPORT = []  # (group, case, error): measured errors, summed up at the end of the run


class Error(C.Structure):
    _fields_ = [("code", C.c_int), ("message", C.c_char * 1024)]

    def text(self):
        return self.message.decode("utf-8", "replace")


class TsrError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{CODES[code] if 0 <= code < len(CODES) else code}: {message}")
        self.code, self.message = code, message


class Machine(C.Structure):
    _fields_ = [("cpu", C.c_char * 64), ("tier", C.c_char_p), ("features", C.c_char_p), ("n_logical", C.c_int),
                ("n_physical", C.c_int), ("cgroup_cpus", C.c_double), ("n_threads_default", C.c_int),
                ("amx_usable", C.c_bool), ("amx_reason", C.c_char_p), ("topology", C.c_char_p)]


PROGRESS = C.CFUNCTYPE(C.c_bool, C.c_void_p, C.c_uint64, C.c_uint64)


class ModelParams(C.Structure):
    _fields_ = [("cpu_tier", C.c_char_p), ("amx", C.c_int), ("no_mmap", C.c_bool), ("mlock", C.c_bool), ("no_packed", C.c_bool),
                ("tensor_buffers", C.POINTER(C.c_char_p)), ("numa", C.c_int),
                ("huge_pages", C.c_int), ("no_cache", C.c_bool), ("cache_dir", C.c_char_p), ("cache_limit", C.c_uint64), ("vocab_only", C.c_bool),
                ("progress", PROGRESS), ("progress_user", C.c_void_p)]


class ModelInfo(C.Structure):
    _fields_ = [(n, C.c_char_p) for n in ("name", "architecture", "file_type", "tokenizer", "cpu_tier", "amx_note", "buffer_note", "numa_note", "numa_place", "cpu", "cache",
                                       "cache_note", "memory_note")] + \
               [(n, C.c_uint64) for n in ("n_params", "file_bytes", "host_bytes", "packed_bytes")] + \
               [(n, C.c_int) for n in ("n_files", "n_vocab", "n_ctx_train", "n_embd", "n_layer", "n_head", "n_head_kv",
                                       "n_ff", "n_expert", "n_expert_used")] + [("has_chat_template", C.c_bool)]


class SessionParams(C.Structure):
    _fields_ = [("n_ctx", C.c_int), ("n_batch", C.c_int), ("n_threads", C.c_int),
                ("n_threads_prompt", C.c_int), ("kv_k", C.c_int), ("kv_v", C.c_int)]


class SessionStats(C.Structure):
    _fields_ = [("n_prompt", C.c_uint64), ("n_generated", C.c_uint64), ("prompt_seconds", C.c_double),
                ("generate_seconds", C.c_double), ("kv_bytes", C.c_uint64), ("work_bytes", C.c_uint64), ("n_jobs", C.c_uint64), ("n_barriers", C.c_uint64),
                ("n_threads", C.c_int), ("n_threads_prompt", C.c_int)]


class TensorInfo(C.Structure):
    _fields_ = [("name", C.c_char_p), ("type", C.c_char_p), ("n_dims", C.c_int), ("ne", C.c_int64 * 4),
                ("n_bytes", C.c_uint64), ("buffer", C.c_char_p), ("layout", C.c_char_p), ("kernel", C.c_char_p),
                ("reason", C.c_char_p), ("buffer_bytes", C.c_uint64)]


ERR = C.POINTER(Error)
PROTOTYPES = {
    "tsr_version": (C.c_char_p,),
    "tsr_code_name": (C.c_char_p, C.c_int),
    "tsr_free": (None, C.c_void_p),
    "tsr_machine_get": (None, C.POINTER(Machine)),
    "tsr_model_params_default": (ModelParams,),
    "tsr_model_open": (C.c_void_p, C.c_char_p, C.POINTER(ModelParams), ERR),
    "tsr_model_close": (None, C.c_void_p),
    "tsr_model_get_info": (None, C.c_void_p, C.POINTER(ModelInfo)),
    "tsr_model_n_tensors": (C.c_size_t, C.c_void_p),
    "tsr_model_tensor": (C.c_bool, C.c_void_p, C.c_size_t, C.POINTER(TensorInfo)),
    "tsr_tokenize": (C.c_int, C.c_void_p, C.c_char_p, C.c_size_t, C.c_uint, C.POINTER(C.POINTER(C.c_int32)),
                     C.POINTER(C.c_size_t), ERR),
    "tsr_detokenize": (C.c_int, C.c_void_p, C.POINTER(C.c_int32), C.c_size_t, C.c_uint, C.POINTER(C.c_void_p),
                       C.POINTER(C.c_size_t), ERR),
    "tsr_session_params_default": (SessionParams,),
    "tsr_session_open": (C.c_void_p, C.c_void_p, C.POINTER(SessionParams), ERR),
    "tsr_session_close": (None, C.c_void_p),
    "tsr_session_eval": (C.c_int, C.c_void_p, C.POINTER(C.c_int32), C.c_size_t, C.c_int, ERR),
    "tsr_session_logits": (C.POINTER(C.c_float), C.c_void_p, C.c_size_t),
    "tsr_session_get_stats": (None, C.c_void_p, C.POINTER(SessionStats)),
    "tsr_session_length": (C.c_size_t, C.c_void_p),
    "tsr_session_capacity": (C.c_size_t, C.c_void_p),
    "tsr_session_truncate": (C.c_int, C.c_void_p, C.c_size_t, ERR),
    "tsr_session_cancel": (None, C.c_void_p),
}


@functools.cache
def lib():
    """The library, with prototypes of the public API set. Give internal functions restype and argtypes yourself."""
    if not LIBRARY.exists():
        raise RuntimeError(f"{LIBRARY} is missing: run `cmake --preset release && cmake --build --preset release`, "
                           "or set TSR_BUILD_DIR")
    so = C.CDLL(str(LIBRARY))
    for name, (restype, *argtypes) in PROTOTYPES.items():
        try:
            f = getattr(so, name)
        except AttributeError:
            continue  # its caller fails with the name; the other rooms' tests need not
        f.restype, f.argtypes = restype, argtypes
    return so


def check(code, err):
    if code != OK:
        raise TsrError(code, err.text())


def machine():
    m = Machine()
    lib().tsr_machine_get(C.byref(m))
    return m


@functools.cache
def host_tiers():
    """Kernel tiers this machine can run, lowest first."""
    usable = lib().tsr_tier_usable
    usable.restype = C.c_bool
    return tuple(t for i, t in enumerate(TIERS) if usable(i))


def missing_tiers():
    return tuple(t for t in TIERS if t not in host_tiers())


def i32(tokens):
    a = np.ascontiguousarray(tokens, dtype=np.int32)
    return a, a.ctypes.data_as(C.POINTER(C.c_int32))


class Model:
    """tsr_model. Closing it closes the sessions that session() made."""

    def __init__(self, path, **params):
        p, err = lib().tsr_model_params_default(), Error()
        p.no_cache = True  # what tests measure and compare is packed now
        for key, value in params.items():
            setattr(p, key, value.encode() if isinstance(value, str) else value)
        self.sessions = []
        self.handle = lib().tsr_model_open(str(path).encode(), C.byref(p), C.byref(err))
        if not self.handle:
            raise TsrError(err.code, err.text())

    def info(self):
        out = ModelInfo()
        lib().tsr_model_get_info(self.handle, C.byref(out))
        return out

    def session(self, n_ctx=0, n_batch=0, n_threads=1, kv_f32=False, n_threads_prompt=0):
        s = Session(self, n_ctx, n_batch, n_threads, kv_f32, n_threads_prompt)
        self.sessions.append(s)
        return s

    def tokenize(self, data, flags=0):
        data = data.encode() if isinstance(data, str) else data
        out, n, err = C.POINTER(C.c_int32)(), C.c_size_t(), Error()
        check(lib().tsr_tokenize(self.handle, data, len(data), flags, C.byref(out), C.byref(n), C.byref(err)), err)
        tokens = out[:n.value]
        lib().tsr_free(out)
        return tokens

    def close(self):
        for s in self.sessions:
            s.close()
        if self.handle:
            lib().tsr_model_close(self.handle)
        self.handle = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Session:
    def __init__(self, model, n_ctx, n_batch, n_threads, kv_f32, n_threads_prompt=0):
        p, err = lib().tsr_session_params_default(), Error()
        p.n_ctx, p.n_batch, p.n_threads, p.n_threads_prompt = n_ctx, n_batch, n_threads, n_threads_prompt
        p.kv_k = p.kv_v = KV_F32 if kv_f32 else KV_F16
        self.n_vocab = model.info().n_vocab
        self.handle = lib().tsr_session_open(model.handle, C.byref(p), C.byref(err))
        if not self.handle:
            raise TsrError(err.code, err.text())

    def eval(self, tokens, want=LOGITS_ALL):
        """Appends tokens; the logits asked for as an array [rows, n_vocab] (copied), or None."""
        a, ptr = i32(tokens)
        err = Error()
        check(lib().tsr_session_eval(self.handle, ptr, len(a), want, C.byref(err)), err)
        rows = {LOGITS_NONE: 0, LOGITS_LAST: 1, LOGITS_ALL: len(a)}[want]
        return np.stack([self.logits(i) for i in range(rows)]) if rows else None

    def logits(self, i):
        p = lib().tsr_session_logits(self.handle, i)
        return np.ctypeslib.as_array(p, (self.n_vocab,)).copy() if p else None

    def thread_counts(self):
        """Threads in use: (generation, prompts)."""
        out = SessionStats()
        lib().tsr_session_get_stats(self.handle, C.byref(out))
        return out.n_threads, out.n_threads_prompt

    def truncate(self, n):
        err = Error()
        check(lib().tsr_session_truncate(self.handle, n, C.byref(err)), err)

    def __len__(self):
        return lib().tsr_session_length(self.handle)

    def close(self):
        if self.handle:
            lib().tsr_session_close(self.handle)
        self.handle = None
