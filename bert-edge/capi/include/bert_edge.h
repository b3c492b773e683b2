/*
 * bert_edge.h: BERT models on any machine, without allocation.
 *
 * Made by cbindgen; the guide is docs/deploy-c.md.
 *
 *   bert_model_open      checks a model file in memory
 *   bert_session_open    binds it to scratch memory, one session a thread
 *   bert_classify, ...   ask: which function a model answers is in its bert_info
 *
 * All memory is the caller's, and nothing is kept beside it. Lengths are in bytes, texts are UTF-8
 * without a zero byte at the end, and offsets of results are bytes of the text as it was given.
 *
 * Every function returns a status; with another than BERT_OK there is no result, except that of
 * BERT_ERROR_CAPACITY. A session is used by one thread at a time (another one gets BERT_ERROR_BUSY),
 * different sessions at once, also of one model. No function blocks, writes to a file, or starts a thread.
 */


#ifndef BERT_EDGE_H
#define BERT_EDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Version of the interface in this header. It rises when a program has to be compiled again.
#define BERT_ABI_VERSION 1

// Scratch memory starts at a multiple of so many bytes.
#define BERT_SCRATCH_ALIGN 16

// Words of a `bert_model`.
#define BERT_MODEL_WORDS 112

// Words of a `bert_session`.
#define BERT_SESSION_WORDS 176

// Answers that are kept while a context is read, among which probabilities are shared out: the most
// that `bert_answer` gives.
#define BERT_MAX_ANSWERS 20

// What functions return: `BERT_OK`, or why there is no result. The numbers do not change.
enum bert_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Done.
    BERT_OK = 0,
    // A pointer is null that must not be.
    BERT_ERROR_NULL = 1,
    // A pointer is not aligned for what it points to; scratch memory needs `BERT_SCRATCH_ALIGN`.
    BERT_ERROR_ALIGNMENT = 2,
    // A length or an option has a value that it cannot have.
    BERT_ERROR_ARGUMENT = 3,
    // A text is not valid UTF-8.
    BERT_ERROR_UTF8 = 4,
    // There are more results than the array holds: its first ones are written, and `count` of the
    // outcome says how many there are.
    BERT_ERROR_CAPACITY = 5,
    // A model or session was not opened, or could not be.
    BERT_ERROR_NOT_OPEN = 6,
    // Another thread, or what an interrupt handler came between, is using the session.
    BERT_ERROR_BUSY = 7,
    // Memory overlaps that must not: scratch memory, the session, and the model file where a function
    // writes.
    BERT_ERROR_OVERLAP = 8,
    // The scratch memory is smaller than `bert_scratch_bytes` says.
    BERT_ERROR_SCRATCH = 9,
    // A limit of tokens below 3 or above that of the model; a question that leaves no room for its
    // context.
    BERT_ERROR_TOKENS = 10,
    // A text has 4 GiB or more.
    BERT_ERROR_TEXT_TOO_LONG = 11,
    // The model has no head for this question.
    BERT_ERROR_HEAD = 12,
    // Two texts for a model that takes one.
    BERT_ERROR_PAIR = 13,
    // The model has fewer layers than the vector is to come from.
    BERT_ERROR_LAYERS = 14,
    // The variable `BERT_ARCH` names an instruction set that this machine does not have.
    BERT_ERROR_ARCH = 15,
    // The bytes do not begin as a model file does.
    BERT_ERROR_NOT_A_MODEL = 32,
    // The file asks for a newer library.
    BERT_ERROR_VERSION = 33,
    // The file is shorter or longer than it says.
    BERT_ERROR_LENGTH = 34,
    // A checksum does not match: the file was changed.
    BERT_ERROR_CHECKSUM = 35,
    // The file breaks a rule of its format.
    BERT_ERROR_FORMAT = 36,
    // The file has a part in an encoding, or a head, that this library does not know.
    BERT_ERROR_UNSUPPORTED = 37,
    // The self-test was made with another revision of the arithmetic: export the model again.
    BERT_ERROR_ARITHMETIC = 48,
    // The self-test gives other bits than the file promises: do not trust this machine's answers.
    BERT_ERROR_SELF_TEST = 49,
    // An error without a number of its own.
    BERT_ERROR_OTHER = 64,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bert_status bert_status;
#else
typedef int32_t bert_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a model answers.
enum bert_head
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // One label for a text: `bert_classify`.
    BERT_HEAD_CLASSIFY = 0,
    // A tag for each word: `bert_tag`, `bert_slots`.
    BERT_HEAD_TAG = 1,
    // A label for the text and a tag for each word: `bert_tag`, `bert_slots`, `bert_classify`.
    BERT_HEAD_JOINT = 2,
    // One label for two texts: `bert_classify_pair`.
    BERT_HEAD_PAIR_CLASSIFY = 3,
    // Numbers for a text or two: `bert_regress`, `bert_regress_pair`.
    BERT_HEAD_REGRESS = 4,
    // A passage of a text that answers a question: `bert_answer`.
    BERT_HEAD_SPAN = 5,
    // A vector for a text: `bert_embed`, which takes models of every head.
    BERT_HEAD_EMBED = 6,
    // Any number of labels for a text: `bert_classify_labels`.
    BERT_HEAD_MULTI_LABEL = 7,
    // One that this header has no name for.
    BERT_HEAD_UNKNOWN = 255,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bert_head bert_head;
#else
typedef int32_t bert_head;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How the rows of the tokens become one vector.
enum bert_pooling
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Their mean.
    BERT_POOLING_MEAN = 0,
    // The row of `[CLS]`.
    BERT_POOLING_FIRST = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bert_pooling bert_pooling;
#else
typedef int32_t bert_pooling;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Layers that a vector comes from.
enum bert_layers
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The last.
    BERT_LAYERS_LAST = 0,
    // Layer `layer` of the options; 0 is what the embedding tables give.
    BERT_LAYERS_ONE = 1,
    // The sum of the last four.
    BERT_LAYERS_SUM_LAST_FOUR = 2,
    // The last four one after another: four times as many numbers.
    BERT_LAYERS_CONCAT_LAST_FOUR = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum bert_layers bert_layers;
#else
typedef int32_t bert_layers;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A model file that was checked. It is in the caller's memory and holds no resource: there is nothing
// to close. Several threads may use one model, and its bytes may be moved as a whole.
typedef struct bert_model {
    // Not for C to read or write.
    uint64_t words[BERT_MODEL_WORDS];
} bert_model;

// What is to be known about a model before it is asked.
typedef struct bert_info {
    // What it answers.
    bert_head head;
    // Labels of a text or a pair; 0 where the head has none.
    uint32_t labels;
    // Tags of a word; 0 where the head has none.
    uint32_t tags;
    // Numbers of a regression; 0 where the head is another.
    uint32_t numbers;
    // Numbers of a vector: the hidden size.
    uint32_t hidden;
    // Layers.
    uint32_t layers;
    // Most tokens of an input, `[CLS]` and `[SEP]` included: of tags or slots there are never more.
    uint32_t max_tokens;
    // Whether it takes two texts: 2 segments or 1.
    uint32_t segments;
    // The pooling that its vectors were trained for, if its head is `BERT_HEAD_EMBED`; the mean
    // otherwise.
    bert_pooling pooling;
} bert_info;

// A text in the caller's memory or in the model file: UTF-8, and **not** ended by a zero byte.
typedef struct bert_text {
    // Its first byte.
    const char *bytes;
    // How many bytes.
    size_t length;
} bert_text;

// A model with the memory to answer one question at a time. It holds no resource: there is nothing to
// close.
//
// A session stays where it was opened; a copy of its bytes is not open. It does not need the
// `bert_model` any more, only the bytes of the file and the scratch memory. Threads have a session
// and scratch memory each.
typedef struct bert_session {
    // Not for C to read or write.
    uint64_t words[BERT_SESSION_WORDS];
} bert_session;

// A label of a text.
typedef struct bert_label {
    // Its number, from 0.
    uint32_t label;
    // Its probability, 0 to 1.
    float probability;
    // Its name, in the model file.
    struct bert_text name;
} bert_label;

// What came of a question, beside its results.
typedef struct bert_outcome {
    // Results in the array; with `BERT_ERROR_CAPACITY` how many there are, of which the first are in
    // the array; 0 with every other error.
    size_t count;
    // Tokens that were read, `[CLS]` and `[SEP]` included.
    uint32_t tokens;
    // Whether the text was longer than the session reads, and cut.
    bool truncated;
} bert_outcome;

// The tag of a word.
typedef struct bert_tagged {
    // Number of the word in the text, from 0; words are separated by white space.
    uint32_t word;
    // First byte of the word in the text.
    uint32_t start;
    // Byte after the word.
    uint32_t end;
    // Number of the most probable tag.
    uint32_t tag;
    // Its probability, 0 to 1.
    float probability;
    // Its name, in the model file.
    struct bert_text name;
} bert_tagged;

// A run of words under one name: tags `B-room I-room` are the slot `room`.
typedef struct bert_slot {
    // First byte of the first word in the text.
    uint32_t start;
    // Byte after the last word.
    uint32_t end;
    // The least probability of its tags.
    float probability;
    // Its name, in the model file.
    struct bert_text name;
} bert_slot;

// How to look for answers; a null pointer stands for `{128, 30, 0, 0.0f}`.
typedef struct bert_answer_options {
    // Tokens that a window of a long context shares with the one before.
    uint32_t stride;
    // Most tokens of an answer.
    uint32_t max_answer_tokens;
    // Not 0 if a question may have no answer (as in SQuAD 2.0).
    int32_t allow_no_answer;
    // By how much no answer must score higher than the best passage to be what is answered.
    float no_answer_threshold;
} bert_answer_options;

// A passage of the context.
typedef struct bert_passage {
    // Its first byte in the context.
    uint32_t start;
    // Byte after it.
    uint32_t end;
    // Logit of its start plus logit of its end.
    float score;
    // Its share among the best `BERT_MAX_ANSWERS`, and no answer where that is allowed.
    float probability;
} bert_passage;

// What is to be known beside the passages.
typedef struct bert_answers {
    // Passages in the array; 0 with an error.
    size_t count;
    // Windows that the context was read in.
    uint32_t windows;
    // Score of no answer.
    float no_answer_score;
    // Probability of no answer; 0 where it is not allowed.
    float no_answer_probability;
    // Whether the first passage is an answer: false if there is none.
    bool has_answer;
} bert_answers;

// Which vector; a null pointer stands for the pooling that the model says, of its last layer, not
// normalized.
typedef struct bert_embed_options {
    // A `bert_pooling`.
    int32_t pooling;
    // A `bert_layers`.
    int32_t layers;
    // The layer, with `BERT_LAYERS_ONE`.
    uint32_t layer;
    // Not 0 to divide the vector by its length, so that the product of two vectors is their cosine.
    int32_t normalize;
} bert_embed_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Version of the interface of the library at hand, to compare with `BERT_ABI_VERSION` where the
// library is loaded at run time.
uint32_t bert_abi_version(void);

// Version of the library as text, `"0.1.0"`.
const char *bert_version(void);

// What a status means, in one line of English; never null, not to be freed. Any number may be asked
// for.
const char *bert_message(int32_t status);

// Checks a model file: every checksum, size and number. Takes some milliseconds for each 10 MB, and
// cannot fail later.
//
// `bytes` may lie at any address (flash, a mapped file, a buffer). They are used where they lie:
// they must stay as they are while the model or a session of it is in use. On an error the model is
// not open.
//
// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_ARGUMENT`, and those of model files,
// 32 to 47.
bert_status bert_model_open(struct bert_model *model,
                            const void *bytes,
                            size_t length);

// Says what a model answers, and how large its answers are.
//
// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`.
bert_status bert_model_info(const struct bert_model *model, struct bert_info *info);

// Name of label `number`, counted from 0. It lies in the model file.
//
// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`; `BERT_ERROR_ARGUMENT` if
// the model has no such label.
bert_status bert_label_name(const struct bert_model *model,
                            uint32_t number,
                            struct bert_text *name);

// Name of tag `number`, counted from 0. It lies in the model file.
//
// Errors: as `bert_label_name`.
bert_status bert_tag_name(const struct bert_model *model, uint32_t number, struct bert_text *name);

// Bytes of scratch memory that a session for inputs of `max_tokens` tokens needs; 0 stands for the
// model's own limit.
//
// `least` is exact: with one byte less no session opens. With `fastest` a session answers up to twice
// as fast, with the same results; either pointer may be null.
//
// Errors: `BERT_ERROR_NULL` (of the model), `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`;
// `BERT_ERROR_TOKENS` for a limit below 3 or above the model's.
bert_status bert_scratch_bytes(const struct bert_model *model,
                               uint32_t max_tokens,
                               size_t *least,
                               size_t *fastest);

// Opens a session for inputs of at most `max_tokens` tokens, `[CLS]` and `[SEP]` included; 0 stands
// for the model's own limit. Longer texts are cut there, and every answer says so.
//
// `scratch` is at least as long as `bert_scratch_bytes` says and starts at a multiple of
// `BERT_SCRATCH_ALIGN`. It is the session's from now on.
//
// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`, `BERT_ERROR_TOKENS`,
// `BERT_ERROR_SCRATCH`, `BERT_ERROR_OVERLAP` if the file or a struct lies in the scratch memory,
// `BERT_ERROR_ARCH`. The session is not open then.
bert_status bert_session_open(struct bert_session *session,
                              const struct bert_model *model,
                              void *scratch,
                              size_t length,
                              uint32_t max_tokens);

// Runs the texts that the model file holds and compares the outputs with those it promises: the same
// bits on every machine. Takes about as long as as many questions.
//
// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_NOT_OPEN`, `BERT_ERROR_BUSY`;
// `BERT_ERROR_TOKENS` if the session was opened for less than the model's limit;
// `BERT_ERROR_ARITHMETIC`, `BERT_ERROR_SELF_TEST`.
bert_status bert_self_test(struct bert_session *session);

// The labels of a text, the most probable first: as many as `labels` has room for, or all the model
// has. Room for one is enough to have the best. For heads `BERT_HEAD_CLASSIFY` and
// `BERT_HEAD_JOINT`.
//
// `text` is `length` bytes of UTF-8, without a zero byte at the end; `outcome` must not be null.
//
// Errors: `BERT_ERROR_NULL`, `BERT_ERROR_ALIGNMENT`, `BERT_ERROR_ARGUMENT`, `BERT_ERROR_NOT_OPEN`,
// `BERT_ERROR_BUSY`, `BERT_ERROR_OVERLAP`, `BERT_ERROR_UTF8`, `BERT_ERROR_TEXT_TOO_LONG`,
// `BERT_ERROR_HEAD`.
bert_status bert_classify(struct bert_session *session,
                          const char *text,
                          size_t length,
                          struct bert_label *labels,
                          size_t capacity,
                          struct bert_outcome *outcome);

// The labels of two texts, as `bert_classify`; where both together are too long, the longer is cut.
// For head `BERT_HEAD_PAIR_CLASSIFY`.
//
// Errors: as `bert_classify`.
bert_status bert_classify_pair(struct bert_session *session,
                               const char *a,
                               size_t a_length,
                               const char *b,
                               size_t b_length,
                               struct bert_label *labels,
                               size_t capacity,
                               struct bert_outcome *outcome);

// The labels of a text that hold each for itself: those of a probability greater than `threshold`
// (0.5 in most cases), in the order of the labels. For head `BERT_HEAD_MULTI_LABEL`.
//
// Errors: as `bert_classify`; `BERT_ERROR_CAPACITY` if more labels hold than `labels` has room for, of
// which the first are written; `BERT_ERROR_ARGUMENT` if `threshold` is not a number.
bert_status bert_classify_labels(struct bert_session *session,
                                 const char *text,
                                 size_t length,
                                 float threshold,
                                 struct bert_label *labels,
                                 size_t capacity,
                                 struct bert_outcome *outcome);

// The tags of a text's words, in their order, for heads `BERT_HEAD_TAG` and `BERT_HEAD_JOINT`. A word
// that was cut off, or has no token, has no tag.
//
// `label` takes the most probable label of the text, from the same pass, if the head is
// `BERT_HEAD_JOINT`; it may be null. Room for `max_tokens` of `bert_info` is always enough.
//
// Errors: as `bert_classify`; `BERT_ERROR_CAPACITY` if there are more tags than `tags` has room for;
// `BERT_ERROR_HEAD` also if `label` is not null and the model has no labels.
bert_status bert_tag(struct bert_session *session,
                     const char *text,
                     size_t length,
                     struct bert_label *label,
                     struct bert_tagged *tags,
                     size_t capacity,
                     struct bert_outcome *outcome);

// The slots of a text, in their order: what the tags of `bert_tag` make together, in BIO form or
// BIOES.
//
// Errors: as `bert_tag`.
bert_status bert_slots(struct bert_session *session,
                       const char *text,
                       size_t length,
                       struct bert_label *label,
                       struct bert_slot *slots,
                       size_t capacity,
                       struct bert_outcome *outcome);

// The numbers of a text, in the unit of the training data. For head `BERT_HEAD_REGRESS`; `numbers` of
// `bert_info` says how many there are.
//
// Errors: as `bert_classify`; `BERT_ERROR_CAPACITY` if there are more numbers than `numbers` has room
// for.
bert_status bert_regress(struct bert_session *session,
                         const char *text,
                         size_t length,
                         float *numbers,
                         size_t capacity,
                         struct bert_outcome *outcome);

// The numbers of two texts, as `bert_regress`.
//
// Errors: as `bert_regress`; `BERT_ERROR_PAIR` if the model takes one text.
bert_status bert_regress_pair(struct bert_session *session,
                              const char *a,
                              size_t a_length,
                              const char *b,
                              size_t b_length,
                              float *numbers,
                              size_t capacity,
                              struct bert_outcome *outcome);

// The best passages of a context that answer a question, the best first: as many as `answers` has
// room for, at most `BERT_MAX_ANSWERS`. For head `BERT_HEAD_SPAN`.
//
// The context may be of any length: time grows with it, memory does not. `options` may be null,
// `found` must not.
//
// Errors: as `bert_classify`; `BERT_ERROR_TOKENS` if the question leaves no room for the context.
bert_status bert_answer(struct bert_session *session,
                        const char *question,
                        size_t question_length,
                        const char *context,
                        size_t context_length,
                        const struct bert_answer_options *options,
                        struct bert_passage *answers,
                        size_t capacity,
                        struct bert_answers *found);

// The vector of a text, from a model of any head. `capacity` is how many numbers `vector` has room
// for: `hidden` of `bert_info`, or four times as many with `BERT_LAYERS_CONCAT_LAST_FOUR`.
//
// Errors: as `bert_classify`, without `BERT_ERROR_HEAD`; `BERT_ERROR_CAPACITY` if there is less room,
// and nothing is written; `BERT_ERROR_ARGUMENT` for an option without a meaning; `BERT_ERROR_LAYERS`
// if the model has not those layers.
bert_status bert_embed(struct bert_session *session,
                       const char *text,
                       size_t length,
                       const struct bert_embed_options *options,
                       float *vector,
                       size_t capacity,
                       struct bert_outcome *outcome);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* BERT_EDGE_H */
