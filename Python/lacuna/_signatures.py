"""Signatures of the C interface. Written by Scripts/check-abi.py out of lacuna.h."""

from ctypes import CFUNCTYPE, POINTER, c_char_p, c_double, c_int32, c_int64, c_uint64, c_void_p

ABI_VERSION = 1

Progress = CFUNCTYPE(c_int32, c_void_p, c_char_p, c_int64, c_int64)
Receive = CFUNCTYPE(c_int32, c_void_p, c_char_p)

FUNCTIONS = {
    "lacuna_abi_version": (c_int32, []),
    "lacuna_error_message": (c_char_p, []),
    "lacuna_release": (c_int32, [c_void_p]),
    "lacuna_object_count": (c_int64, []),
    "lacuna_threads": (c_int32, []),
    "lacuna_set_threads": (c_int32, [c_int32]),
    "lacuna_array_view": (c_int32, [c_void_p, POINTER(c_int32), POINTER(c_int64), POINTER(c_void_p)]),
    "lacuna_text_free": (None, [c_void_p]),
    "lacuna_matrix_csr": (c_int32, [c_int32, c_int64, c_int64, c_int64, c_int32, c_void_p, c_int32, c_void_p, c_void_p, c_int32, POINTER(c_void_p)]),
    "lacuna_matrix_view": (c_int32, [c_void_p, POINTER(c_int32), POINTER(c_int64), POINTER(c_int64), POINTER(c_int64), POINTER(c_void_p), POINTER(c_void_p), POINTER(c_void_p)]),
    "lacuna_matrix_times_dense": (c_int32, [c_void_p, c_int32, c_int64, c_void_p, c_int64, c_void_p, c_int64]),
    "lacuna_matrix_times_matrix": (c_int32, [c_void_p, c_void_p, POINTER(c_void_p)]),
    "lacuna_matrix_times_matrix_at": (c_int32, [c_void_p, c_void_p, c_void_p, c_int32, POINTER(c_void_p)]),
    "lacuna_matrix_sampled": (c_int32, [c_void_p, c_void_p, c_void_p, c_int64, POINTER(c_void_p)]),
    "lacuna_table_dense": (c_int32, [c_void_p, c_int64, c_int64, c_int64, c_int64, c_int32, POINTER(c_void_p)]),
    "lacuna_table_sparse": (c_int32, [c_int32, c_int64, c_int64, c_int64, c_int32, c_void_p, c_int32, c_void_p, c_void_p, c_int32, POINTER(c_void_p)]),
    "lacuna_table_set": (c_int32, [c_void_p, c_char_p, c_void_p, c_int64]),
    "lacuna_estimator_create": (c_int32, [POINTER(c_void_p)]),
    "lacuna_estimator_set_text": (c_int32, [c_void_p, c_char_p, c_char_p]),
    "lacuna_estimator_set_number": (c_int32, [c_void_p, c_char_p, c_double]),
    "lacuna_estimator_set_numbers": (c_int32, [c_void_p, c_char_p, c_void_p, c_int64]),
    "lacuna_estimator_fit": (c_int32, [c_void_p, c_void_p, Progress, c_void_p, POINTER(c_void_p)]),
    "lacuna_estimator_path": (c_int32, [c_void_p, c_void_p, c_void_p, c_int64, Progress, c_void_p, POINTER(c_void_p)]),
    "lacuna_fit_number": (c_int32, [c_void_p, c_char_p, POINTER(c_double)]),
    "lacuna_fit_array": (c_int32, [c_void_p, c_char_p, POINTER(c_void_p)]),
    "lacuna_fit_predict": (c_int32, [c_void_p, c_void_p, c_char_p, POINTER(c_void_p)]),
    "lacuna_fit_save": (c_int32, [c_void_p, c_char_p]),
    "lacuna_fit_load": (c_int32, [c_char_p, POINTER(c_void_p)]),
    "lacuna_table_intervals": (c_int32, [c_void_p, c_void_p, c_double, c_void_p, c_int64, Progress, c_void_p, POINTER(c_void_p)]),
    "lacuna_language_model_load": (c_int32, [c_char_p, c_char_p, Progress, c_void_p, POINTER(c_void_p)]),
    "lacuna_language_model_number": (c_int32, [c_void_p, c_char_p, POINTER(c_double)]),
    "lacuna_language_model_encode": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_void_p)]),
    "lacuna_language_model_decode": (c_int32, [c_void_p, c_void_p, c_int64, POINTER(c_void_p)]),
    "lacuna_language_model_generate": (c_int32, [c_void_p, c_char_p, c_int32, c_int64, c_double, c_int64, c_double, c_uint64, Receive, c_void_p, POINTER(c_void_p)]),
    "lacuna_language_model_logits": (c_int32, [c_void_p, c_void_p, c_int64, c_int32, POINTER(c_void_p)]),
    "lacuna_language_model_perplexity": (c_int32, [c_void_p, c_char_p, c_int64, c_int64, Progress, c_void_p, POINTER(c_double), POINTER(c_int64)]),
    "lacuna_language_model_prune": (c_int32, [c_void_p, c_char_p, c_char_p, c_double, c_char_p, c_char_p, c_int64, c_int64, c_uint64, Progress, c_void_p, POINTER(c_void_p)]),
    "lacuna_language_model_save": (c_int32, [c_void_p, c_char_p, c_int32, Progress, c_void_p]),
}
