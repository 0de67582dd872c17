// Lacuna from C, and from every language that can call C: sparse products, sparse regression, search, sparse autoencoders,
// language models.
//
// Objects are opaque. A function that makes one writes it through its last argument; lacuna_release gives it back, and then
// refuses it wherever it is still used. Objects may be used from several threads at once, except that a table, an estimator
// or a language model must not be changed or used to write text by two threads at a time. An index may be searched while
// another thread changes it.
//
// Functions that can fail return LACUNA_OK or the kind of error; lacuna_error_message then says what was wrong, in a sentence
// for people, until the next call that fails on the same thread. What an argument points at is checked as far as a pointer
// can be: lengths, shapes, the order of indices, numbers out of range. Arrays must be as long as these arguments say, and lie
// where their type may.
//
// Texts are UTF-8; what is not is refused. In texts that are given out U+FFFD stands for the character NUL.
//
// Numbers "that are borrowed" stay where they are: they must live, and must not change, until the object is released. Nothing
// that is computed of the object refers to them.
// Where they lie so near the end of a page that vector instructions would read beyond it, they are copied nevertheless.
#ifndef LACUNA_H
#define LACUNA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Raised by 1 where a program that was compiled with an older header could no longer run. Functions are only ever added.
#define LACUNA_ABI_VERSION 1
int32_t lacuna_abi_version(void);

// What functions return.
enum {
  LACUNA_OK = 0,
  LACUNA_ERROR_FILE = 1,              // could not be opened, read or written
  LACUNA_ERROR_MALFORMED = 2,         // a file, or data, that does not follow its form
  LACUNA_ERROR_MISSING_TENSOR = 3,    // a tensor that is needed is absent
  LACUNA_ERROR_TENSOR_MISMATCH = 4,   // a tensor has another shape or type than its use requires
  LACUNA_ERROR_UNSUPPORTED = 5,       // valid, but of a kind that is not supported
  LACUNA_ERROR_INVALID_ARGUMENT = 6,  // outside its range, released, or of another kind
  LACUNA_ERROR_NUMERICAL = 7,         // the computation failed on these numbers
  LACUNA_ERROR_RESOURCE = 8,          // too little memory or room on a disk
  LACUNA_ERROR_CANCELLED = 9,         // a callback asked for it
  LACUNA_ERROR_OTHER = 10
};

// The last error of this thread; "" if there was none. Valid until the next failure on this thread.
const char *lacuna_error_message(void);

// Gives an object back; NULL is fine. Arrays that were viewed in it end here.
int32_t lacuna_release(void *object);

// Objects that have not been released: 0 in a program without leaks.
int64_t lacuna_object_count(void);

// Threads of the library's one pool, the caller included. At first as many as the process may use processors.
int32_t lacuna_threads(void);
int32_t lacuna_set_threads(int32_t threads);

// Types of numbers.
enum { LACUNA_FLOAT32 = 0, LACUNA_FLOAT64 = 1, LACUNA_INT64 = 2 };

// Called now and then during long work, on the thread that asked for it. Anything but 0 ends the work with
// LACUNA_ERROR_CANCELLED. `task` is valid during the call. The function must not change the index whose change calls it: that would
// wait for itself.
typedef int32_t (*lacuna_progress)(void *context, const char *task, int64_t completed, int64_t total);

// Called with each piece of a text as soon as its characters are complete, and with "" for a token that completes none.
// Anything but 0 ends the text there.
typedef int32_t (*lacuna_receive)(void *context, const char *piece);

// ---- Arrays: results whose size the library knows ----

typedef struct lacuna_array lacuna_array;
// The type, the number of numbers, and where they are until the array is released.
int32_t lacuna_array_view(const lacuna_array *array, int32_t *type, int64_t *count, const void **data);

// Texts that functions write through `char **` are given back here; NULL is fine.
void lacuna_text_free(char *text);

// ---- Sparse matrices ----

typedef struct lacuna_matrix lacuna_matrix;

// A matrix [rows, columns] in compressed sparse rows: `starts` [rows + 1] and `indices` [count] of 32 or 64 bits, columns
// ascending strictly within a row, `values` [count] of `type` (LACUNA_FLOAT32 or LACUNA_FLOAT64). With `borrow` not 0, 64-bit
// starts, 32-bit indices and values are borrowed; what has another width is copied.
int32_t lacuna_matrix_csr(int32_t type, int64_t rows, int64_t columns, int64_t count, int32_t start_bits,
                          const void *starts, int32_t index_bits, const void *indices, const void *values,
                          int32_t borrow, lacuna_matrix **matrix);

// What a matrix consists of, until it is released. Any of the arguments behind the first may be NULL.
int32_t lacuna_matrix_view(const lacuna_matrix *matrix, int32_t *type, int64_t *rows, int64_t *columns, int64_t *count,
                           const int64_t **starts, const uint32_t **indices, const void **values);

// result = A B of a dense B [columns, n] whose rows are `leading` numbers apart; result [rows, n] likewise, by
// `result_leading`. With `transposed` not 0, result = A^T B of B [rows, n]; result [columns, n]. All numbers are of the
// matrix's type. With n 1 and both distances 1, the product with a vector.
int32_t lacuna_matrix_times_dense(const lacuna_matrix *matrix, int32_t transposed, int64_t n, const void *b,
                                  int64_t leading, void *result, int64_t result_leading);

// The sparse product A B, columns ascending. Entries whose terms cancel are kept as zeros.
int32_t lacuna_matrix_times_matrix(const lacuna_matrix *a, const lacuna_matrix *b, lacuna_matrix **product);

// The entries of A B at the places that `mask` stores and no others; with `complemented` not 0, those at all other places.
int32_t lacuna_matrix_times_matrix_at(const lacuna_matrix *a, const lacuna_matrix *b, const lacuna_matrix *mask,
                                      int32_t complemented, lacuna_matrix **product);

// The sampled product: sum over k of left[i, k] right[j, k] at the places (i, j) that `mask` stores; left [rows, depth] and
// right [columns, depth] in row-major order, of the mask's type.
int32_t lacuna_matrix_sampled(const lacuna_matrix *mask, const void *left, const void *right, int64_t depth,
                              lacuna_matrix **product);

// ---- Tables: what regressions are fitted to ----

typedef struct lacuna_table lacuna_table;

// A dense table: the number of row i and column j is values[i * row_stride + j * column_stride]. With `borrow` not 0 and whole
// columns one behind another (row_stride 1, column_stride rows) it is borrowed.
int32_t lacuna_table_dense(const double *values, int64_t rows, int64_t columns, int64_t row_stride,
                           int64_t column_stride, int32_t borrow, lacuna_table **table);

// A sparse table in compressed columns, or with `by_rows` not 0 in compressed rows, which are transposed; see lacuna_matrix_csr.
// With `borrow` not 0 the arrays are borrowed.
int32_t lacuna_table_sparse(int32_t by_rows, int64_t rows, int64_t columns, int64_t count, int32_t start_bits,
                            const void *starts, int32_t index_bits, const void *indices, const double *values,
                            int32_t borrow, lacuna_table **table);

// Numbers beside the columns, one for each row, which are copied: "target" (for classes 0, 1 ...), "weights" (at least 0),
// "events" (for the family cox: not 0 where the target is the time of an event), "folds" (of cross-validation, from 0, instead of
// those that the seed makes). NULL takes them away.
int32_t lacuna_table_set(lacuna_table *table, const char *name, const double *values, int64_t count);

// ---- Estimators: a family, a penalty, and how its strength is chosen ----

typedef struct lacuna_estimator lacuna_estimator;

// A lasso for numbers whose strength five-fold cross-validation chooses; the names below change that. Settings that do not go
// together are refused by lacuna_estimator_fit.
int32_t lacuna_estimator_create(lacuna_estimator **estimator);

// "family": gaussian, binomial, multinomial, poisson, huber, quantile, cox.
// "penalty": lasso, elastic-net, ridge, group-lasso, scad, mcp, l0, slope, best-subset.
// "rule" of the choice: 1se, min. "measure" of it: loss, mae, errors, auc, concordance.
int32_t lacuna_estimator_set_text(lacuna_estimator *estimator, const char *name, const char *text);

// "strength" (NaN: chosen), "mixing" (share of the L1 penalty in the elastic net, 0.5, and in the group lasso, 0), "shape" (of
// SCAD, 3.7, and MCP, 3), "size" (of a best subset; NaN: chosen), "rate" (of slope's false discoveries, 0.1), "delta" (of huber;
// NaN: by the target), "level" (of quantile, 0.5), "tolerance" (1e-7), "folds" (5), "seed" (0), "count" (strengths on a path, 100), "ratio" (the smallest over the largest,
// 0.01), "adaptive" (power; NaN: none), "lower", "upper" (limits of coefficients); not 0 for true: "intercept" (1),
// "standardize" (1), "relaxed" (0).
int32_t lacuna_estimator_set_number(lacuna_estimator *estimator, const char *name, double number);

// "groups" (a number for each column, equal ones in one group; for the group lasso), "factors" (how much more each column is
// penalised; for lasso and elastic net). NULL takes them away.
int32_t lacuna_estimator_set_numbers(lacuna_estimator *estimator, const char *name, const double *numbers,
                                     int64_t count);

// ---- Fits ----

typedef struct lacuna_fit lacuna_fit;

// Fits the path, chooses a strength unless one is given, and makes the model. `progress` may be NULL.
int32_t lacuna_estimator_fit(const lacuna_estimator *estimator, const lacuna_table *table, lacuna_progress progress,
                             void *context, lacuna_fit **fit);

// Solutions at the strengths given, which descend, each starting from the one before; with NULL at "count" of them from the
// largest that matters to "ratio" times it. Columns are taken as they are unless "standardize" says otherwise. For the families
// gaussian and binomial with lasso, elastic-net, ridge, group-lasso, scad, mcp and l0. The chosen one is the last.
int32_t lacuna_estimator_path(const lacuna_estimator *estimator, const lacuna_table *table, const double *strengths,
                              int64_t count, lacuna_progress progress, void *context, lacuna_fit **fit);

// "columns", "outputs", "chosen" (place on the path), "strength", "maximum_strength" (the smallest that selects nothing; NaN
// for a path), "mixing" (the share of the L1 penalty of an elastic net, for the target as it is; else NaN), "objective",
// "gap" (how much the objective may exceed the minimum: a duality gap; NaN where the penalty has none), "distance" (of the
// negative gradient to the penalty's subdifferential; NaN where there is a gap), "certificate" (either of the two as the
// tolerance bounds it: relative), "passes" over the data, "converged" (0 or 1).
int32_t lacuna_fit_number(const lacuna_fit *fit, const char *name, double *number);

// Of the chosen strength: "coefficients" [outputs, columns], "intercepts" [outputs]. Of all on the path: "strengths" [s],
// "path_coefficients" [s, outputs, columns], "path_intercepts" [s, outputs], "path_gaps", "path_certificates",
// "path_objectives", "path_explained", "path_passes", "path_converged" [s]. Of the cross-validation, empty where there was none:
// "validation_losses", "validation_errors" [s].
int32_t lacuna_fit_array(const lacuna_fit *fit, const char *name, lacuna_array **array);

// Predictions for the rows of a table: "predictors" [outputs, rows], "values" [rows], "probabilities" [rows, classes].
int32_t lacuna_fit_predict(const lacuna_fit *fit, const lacuna_table *table, const char *what, lacuna_array **array);

// Writes the model of a fit as a JSON document, which `lacuna predict` and lacuna_fit_load read.
int32_t lacuna_fit_save(const lacuna_fit *fit, const char *path);
// A model alone, without path and certificate: those numbers are NaN, those arrays empty.
int32_t lacuna_fit_load(const char *path, lacuna_fit **fit);

// 95 % confidence intervals of the debiased lasso for some columns, [count, 3] as estimate, lower end, upper end; NaN for constant
// columns. `coefficients`, one for each column, and `intercept` are those of a lasso or an elastic net of the table's target.
int32_t lacuna_table_intervals(const lacuna_table *table, const double *coefficients, double intercept,
                               const int64_t *columns, int64_t count, lacuna_progress progress, void *context,
                               lacuna_array **array);

// ---- Indexes: documents by weights of terms, in a directory ----

typedef struct lacuna_vectors lacuna_vectors;
typedef struct lacuna_index lacuna_index;
typedef struct lacuna_hits lacuna_hits;

// Weights of terms of documents or queries, one a row of a matrix [rows, columns], which is copied. `terms` [columns] names the
// columns; with NULL they are called by their numbers, "0" and so on.
int32_t lacuna_vectors_rows(const lacuna_matrix *matrix, const char *const *terms, lacuna_vectors **vectors);

// An index that is made at `path` by the first documents, and only if all of them can be added; with `overwrite` not 0 in the
// place of one that is there.
int32_t lacuna_index_create(const char *path, int32_t overwrite, lacuna_index **index);

// An index that was made before, by whatever program. `encoder` is the folder of its encoder, if that is not where it was; else
// NULL. With `trust` not 0 the files are not compared with their checksums: for indexes of any size that were checked before.
int32_t lacuna_index_open(const char *path, const char *encoder, int32_t trust, lacuna_index **index);

// Before there are documents: "kind": exact, or seismic, which is faster for learned vectors and may miss results. "bm25": words
// (English stems), plain-words, or counts, for vectors that count words; then weights are BM25's. "encoder": the folder of a
// sparse encoder for texts. With neither of the last two, documents and queries are vectors.
int32_t lacuna_index_set_text(lacuna_index *index, const char *name, const char *text);

// Before there are documents: "k1" (0.9), "b" (0.4) of BM25; "max_terms" that are kept of a text (encoder); of seismic
// "n_postings" (3500 a term on average), "max_fraction" (1.5), "cluster_ratio" (0.1), "doc_cut" (15), "min_cluster_size" (2),
// "block_size" (instead of clusters), "summary_prune_ratio" (0.4), "neighbours" (0), "seed" (0). At any time how seismic is
// searched: "query_cut" (8; infinite for all terms), "heap_factor" (0.8). What does not go together is refused by lacuna_index_add.
int32_t lacuna_index_set_number(lacuna_index *index, const char *name, double number);

// The weights that the index gives to texts [count]; with `queries` not 0 as queries.
int32_t lacuna_index_encode(lacuna_index *index, const char *const *texts, int64_t count, int32_t queries,
                            lacuna_progress progress, void *context, lacuna_vectors **vectors);

// Adds a document for each row: all of them, or none if there is something wrong. `ids`, `texts` and `metadata` have as many
// entries as there are rows, or are NULL. A document replaces one of the same identifier; with NULL they are the numbers of the
// rows, "0" and so on. Texts are kept to be shown. Metadata are JSON objects of words, lists of words and numbers to filter by.
// The index is read for every change: many documents at once are faster than one by one.
int32_t lacuna_index_add(lacuna_index *index, const lacuna_vectors *vectors, const char *const *ids,
                         const char *const *texts, const char *const *metadata, lacuna_progress progress,
                         void *context);

// Deletes documents. How many there were goes to `deleted`, unless it is NULL.
int32_t lacuna_index_delete(lacuna_index *index, const char *const *ids, int64_t count, int64_t *deleted);

// Puts everything into one segment, without the documents that were deleted.
int32_t lacuna_index_merge(lacuna_index *index, lacuna_progress progress, void *context);

// "documents", "deleted" (that still take room), "segments", "terms", "entries", "bytes" of all files, "generation" (grows with
// every change), "query_cut" and "heap_factor" (NaN for an exact index).
int32_t lacuna_index_number(const lacuna_index *index, const char *name, double *number);
int32_t lacuna_index_contains(const lacuna_index *index, const char *id, int32_t *found);

// The `k` best documents for each query, by the index as it was last changed, whoever changed it. `filter` such as "year >= 1958
// and section = libs" is asked of the metadata; NULL for none. `query_cut` (0: the index's) and `heap_factor` (NaN: the index's)
// are for seismic indexes. With `exact` not 0 every document is scored. With `explain` not 0 hits say by which terms they were
// found.
int32_t lacuna_index_search(const lacuna_index *index, const lacuna_vectors *queries, int64_t k, const char *filter,
                            double query_cut, double heap_factor, int32_t exact, int32_t explain,
                            lacuna_progress progress, void *context, lacuna_hits **hits);

// Hits of all queries one after another, the best of each first: "starts" [queries + 1] says where each query's begin, "scores"
// (LACUNA_FLOAT32) [hits], "documents_scored" [queries]. "term_starts" [hits + 1] says where the terms of each hit begin, the one
// that adds most first, "term_scores" (LACUNA_FLOAT32) what each adds. LACUNA_INT64 unless it is said.
int32_t lacuna_hits_array(const lacuna_hits *hits, const char *name, lacuna_array **array);

// "ids" and "texts" of all hits, "terms" of all of their terms: UTF-8, text i from starts[i] (LACUNA_INT64) up to starts[i + 1] of
// `bytes`, which are there until the hits are released.
int32_t lacuna_hits_texts(const lacuna_hits *hits, const char *name, const void **bytes, lacuna_array **starts);

// What part of the exact results a search finds: [mean recall of a query at k, its standard error, documents scored a query,
// queries]. Of queries, or with NULL of documents cut down to 16 terms. `query_cut` and `heap_factor` as for a search.
int32_t lacuna_index_recall(const lacuna_index *index, const lacuna_vectors *queries, int64_t k, double query_cut,
                            double heap_factor, lacuna_progress progress, void *context, lacuna_array **numbers);

// Finds out how a seismic index has to be searched for a recall at k, above 0 and at most 1, and sets that. Every other query
// chooses, the rest measure: [mean recall, its standard error, documents scored a query, queries, 1 if the goal was reached,
// query_cut, heap_factor].
int32_t lacuna_index_tune(lacuna_index *index, const lacuna_vectors *queries, int64_t k, double recall,
                          lacuna_progress progress, void *context, lacuna_array **numbers);

// ---- Dictionaries: sparse autoencoders and transcoders ----

typedef struct lacuna_dictionary lacuna_dictionary;

// A directory in the layout of SAELens, version 6 or later: cfg.json and sae_weights.safetensors.
int32_t lacuna_dictionary_load(const char *path, lacuna_dictionary **dictionary);
// Writes such a directory; one that exists is replaced if `overwrite` is not 0. `type`: f32, bf16, f16; NULL for f32.
int32_t lacuna_dictionary_save(const lacuna_dictionary *dictionary, const char *path, const char *type,
                               int32_t overwrite);

// "inputs", "outputs" (dimensions), "features", "active" (features a token that its rule fixes; NaN if a penalty decided).
int32_t lacuna_dictionary_number(const lacuna_dictionary *dictionary, const char *name, double *number);
// "rule" such as "topk, k 32"; "model" and "site" that it was trained on, "" where the files do not say.
int32_t lacuna_dictionary_text(const lacuna_dictionary *dictionary, const char *name, char **text);

// As SAELens names them (LACUNA_FLOAT32): "W_enc" [inputs, features], "b_enc" [features], "W_dec" [features, outputs], "b_dec"
// [outputs], "threshold" [1 or features]; empty where the kind has none. Of a gated dictionary "b_enc" is its gate's.
int32_t lacuna_dictionary_array(const lacuna_dictionary *dictionary, const char *name, lacuna_array **array);

// Which features are active in each of some vectors [rows, inputs] (LACUNA_FLOAT32), and how strongly: [rows, features].
int32_t lacuna_dictionary_encode(const lacuna_dictionary *dictionary, const void *values, int64_t rows,
                                 lacuna_matrix **code);
// The vectors that codes [rows, features] stand for: [rows, outputs] (LACUNA_FLOAT32).
int32_t lacuna_dictionary_decode(const lacuna_dictionary *dictionary, const lacuna_matrix *code, lacuna_array **array);

// How well vectors [rows, inputs] are described: [share of the variance that is not explained, mean cosine, active features a
// row, share of the features that are never active, and for each feature the share of the rows in which it is active].
// `targets` [rows, outputs] are what a transcoder is to give; NULL for the vectors.
int32_t lacuna_dictionary_quality(const lacuna_dictionary *dictionary, const void *values, const void *targets,
                                  int64_t rows, lacuna_array **numbers);

// ---- Language models ----

typedef struct lacuna_language_model lacuna_language_model;

// A GGUF file, a directory of Hugging Face or of Lacuna, or a name that `lacuna data` knows. `weights`: stored, f32, bf16, f16,
// int8, int4; NULL for stored.
int32_t lacuna_language_model_load(const char *path, const char *weights, lacuna_progress progress, void *context,
                                   lacuna_language_model **model);

// "vocabulary", "positions", "parameters", "disk_bytes", "bytes_per_token" (that the first token reads), "sparsity" (of the linear
// layers).
int32_t lacuna_language_model_number(const lacuna_language_model *model, const char *name, double *number);

// The tokens (LACUNA_INT64) of a text, and the text of tokens. With `specials` not 0, what looks like a special token is one.
int32_t lacuna_language_model_encode(const lacuna_language_model *model, const char *text, int32_t specials,
                                     lacuna_array **tokens);
int32_t lacuna_language_model_decode(const lacuna_language_model *model, const int64_t *tokens, int64_t count,
                                     char **text);

// The text after a prompt; with `chat` not 0, the answer to the prompt as a question in the model's chat template. Greedy for
// temperature 0; top_k 0 and top_p 1 leave all tokens. `receive` may be NULL.
int32_t lacuna_language_model_generate(const lacuna_language_model *model, const char *prompt, int32_t chat,
                                       int64_t maximum_tokens, double temperature, int64_t top_k, double top_p,
                                       uint64_t seed, lacuna_receive receive, void *context, char **text);

// Logits (LACUNA_FLOAT32) after each token [count, vocabulary], or with `last` not 0 after the last [vocabulary].
int32_t lacuna_language_model_logits(const lacuna_language_model *model, const int64_t *tokens, int64_t count,
                                     int32_t last, lacuna_array **logits);

// Perplexity of a text in windows of `window` tokens that begin every `stride`; 0 for the model's own choice of either. Also
// the number of tokens that were scored, unless NULL.
int32_t lacuna_language_model_perplexity(const lacuna_language_model *model, const char *text, int64_t window,
                                         int64_t stride, lacuna_progress progress, void *context, double *perplexity,
                                         int64_t *tokens);

// Another model with part of the weights of the linear layers left out, stored as what is left. `method` is a name that `lacuna
// methods` lists: NULL for wanda. `pattern` such as "2:4" or "unstructured:row"; NULL for the method's own. `sparsity`, 0 to below
// 1: NaN for what the pattern fixes, otherwise a half. `values`: f32, bf16, f16, int8, int4; NULL for what the method stores,
// otherwise bf16. `calibration` is a text for methods that look at activations, from which `sequences` of `sequence_length` tokens are
// drawn by the seed (0: 64, 512); else NULL.
int32_t lacuna_language_model_prune(const lacuna_language_model *model, const char *method, const char *pattern,
                                    double sparsity, const char *values, const char *calibration, int64_t sequences,
                                    int64_t sequence_length, uint64_t seed, lacuna_progress progress, void *context,
                                    lacuna_language_model **pruned);

// Writes the model into a directory that lacuna_language_model_load reads; one that exists is replaced if `overwrite` is not 0.
int32_t lacuna_language_model_save(const lacuna_language_model *model, const char *path, int32_t overwrite,
                                   lacuna_progress progress, void *context);

#ifdef __cplusplus
}
#endif

#endif
