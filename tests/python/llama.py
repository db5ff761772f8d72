"""llama.cpp itself, as xllamacpp ships it: only as much of its C interface as gives scores.

xllamacpp's own interface serves text and tells the likeliest tokens; its library holds all of llama.cpp, whose functions are
called here. The two structures of parameters change from version to version, so they are never looked into: a function
of llama.cpp fills them with what it holds for good, another takes them, and room enough is all they need between.
"""

import ctypes
from pathlib import Path

import numpy as np
import xllamacpp

Handle = ctypes.c_void_p
Ids = ctypes.POINTER(ctypes.c_int32)


class Parameters(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 1024)]


class Batch(ctypes.Structure):
    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", Ids),
        ("embd", ctypes.c_void_p),
        ("pos", Ids),
        ("n_seq_id", Ids),
        ("seq_id", ctypes.POINTER(Ids)),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    ]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, Handle)
SILENT = LOG(lambda level, text, data: None)
(LIBRARY,) = Path(xllamacpp.__file__).parent.glob("xllamacpp*.so")
_library = ctypes.CDLL(str(LIBRARY))


def _call(name, result, *arguments):
    """Calls `llama_<name>` with (type, value) pairs."""
    function = getattr(_library, f"llama_{name}")
    function.restype = result
    function.argtypes = [kind for kind, _ in arguments]
    return function(*[value for _, value in arguments])


class Llama:
    """A model, and the adapter it is read with."""

    def __init__(self, path):
        _call("log_set", None, (LOG, SILENT), (Handle, None))
        _call("backend_init", None)
        defaults = _call("model_default_params", Parameters)
        path = str(path).encode()
        self._model = _call("model_load_from_file", Handle, (ctypes.c_char_p, path), (Parameters, defaults))
        assert self._model, "llama.cpp does not read the model"
        defaults = _call("context_default_params", Parameters)
        self._context = _call("init_from_model", Handle, (Handle, self._model), (Parameters, defaults))
        assert self._context, "llama.cpp makes no context"
        # Its threads wait for one another in loops: more of them than free processors cost many times what they bring.
        one = (ctypes.c_int32, 1)
        _call("set_n_threads", None, (Handle, self._context), one, one)
        vocabulary = _call("model_get_vocab", Handle, (Handle, self._model))
        self._n_vocab = _call("vocab_n_tokens", ctypes.c_int32, (Handle, vocabulary))

    def attach(self, path):
        """Reads with the adapter in the file at `path`; False where llama.cpp refuses it."""
        path = str(path).encode()
        adapter = _call("adapter_lora_init", Handle, (Handle, self._model), (ctypes.c_char_p, path))
        if not adapter:
            return False
        adapters, scales = (Handle * 1)(adapter), (ctypes.c_float * 1)(1.0)
        arguments = [(Handle, self._context), (ctypes.POINTER(Handle), adapters), (ctypes.c_size_t, 1)]
        failed = _call("set_adapters_lora", ctypes.c_int32, *arguments, (ctypes.POINTER(ctypes.c_float), scales))
        return failed == 0

    def logits(self, ids):
        """Scores after each of `ids`: an array of [ids, vocabulary]."""
        memory = _call("get_memory", Handle, (Handle, self._context))
        _call("memory_clear", None, (Handle, memory), (ctypes.c_bool, True))
        count, none = (ctypes.c_int32, len(ids)), (ctypes.c_int32, 0)
        batch = _call("batch_init", Batch, count, none, (ctypes.c_int32, 1))
        batch.n_tokens = len(ids)
        for at, token in enumerate(ids):
            batch.token[at], batch.pos[at], batch.logits[at] = token, at, 1
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
        try:
            failed = _call("decode", ctypes.c_int32, (Handle, self._context), (Batch, batch))
            assert failed == 0, f"llama.cpp does not read the ids: {failed}"
            scores = _call("get_logits", ctypes.POINTER(ctypes.c_float), (Handle, self._context))
            return np.ctypeslib.as_array(scores, (len(ids), self._n_vocab)).astype(np.float64)
        finally:
            _call("batch_free", None, (Batch, batch))

    def close(self):
        _call("free", None, (Handle, self._context))
        _call("model_free", None, (Handle, self._model))
