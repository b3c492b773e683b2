/* Everything a caller can do wrong and a function can notice: `misuse JOINT REGRESS MULTI_LABEL SPAN`,
 * a model each. */
#include <limits.h>

#include "check.h"

struct opened {
    void *file, *scratch;
    size_t length, least;
    bert_model model;
    bert_session session;
};

static void open_file(struct opened *at, const char *path) {
    at->file = read_file(path, &at->length);
    DO(bert_model_open(&at->model, at->file, at->length));
    DO(bert_scratch_bytes(&at->model, 0, &at->least, NULL));
    at->scratch = scratch_of(at->least);
    DO(bert_session_open(&at->session, &at->model, at->scratch, at->least, 0));
}

static void close_file(struct opened *at) {
    free(at->scratch);
    free(at->file);
}

/* A pointer that is not aligned for what it points to. */
static void *odd(void *at) {
    return (char *)at + 1;
}

static void models(struct opened *at) {
    bert_model model;
    memset(&model, 0, sizeof model);
    bert_info info;
    bert_text name;
    size_t bytes;
    EXPECT(bert_model_info(&model, &info), BERT_ERROR_NOT_OPEN);
    EXPECT(bert_scratch_bytes(&model, 0, &bytes, &bytes), BERT_ERROR_NOT_OPEN);
    EXPECT(bert_model_open(NULL, at->file, at->length), BERT_ERROR_NULL);
    EXPECT(bert_model_open(odd(&model), at->file, at->length), BERT_ERROR_ALIGNMENT);
    EXPECT(bert_model_open(&model, NULL, at->length), BERT_ERROR_NULL);
    EXPECT(bert_model_open(&model, at->file, SIZE_MAX), BERT_ERROR_ARGUMENT);
    EXPECT(bert_model_open(&model, NULL, 0), BERT_ERROR_NOT_A_MODEL);
    EXPECT(bert_model_open(&model, "not a model", 11), BERT_ERROR_NOT_A_MODEL);
    EXPECT(bert_model_open(&model, at->file, at->length - 1), BERT_ERROR_LENGTH);

    /* A file that was changed is refused, and what was open before is open no more. */
    unsigned char *changed = malloc(at->length + 1);
    memcpy(changed, at->file, at->length);
    DO(bert_model_open(&model, changed, at->length));
    changed[at->length / 2] ^= 1;
    EXPECT(bert_model_open(&model, changed, at->length), BERT_ERROR_CHECKSUM);
    EXPECT(bert_model_info(&model, &info), BERT_ERROR_NOT_OPEN);
    changed[10] = 255;
    EXPECT(bert_model_open(&model, changed, at->length), BERT_ERROR_VERSION);
    /* A file may lie anywhere. */
    memcpy(odd(changed), at->file, at->length);
    DO(bert_model_open(&model, odd(changed), at->length));
    free(changed);

    DO(bert_model_open(&model, at->file, at->length));
    EXPECT(bert_model_info(&model, NULL), BERT_ERROR_NULL);
    EXPECT(bert_model_info(&model, odd(&info)), BERT_ERROR_ALIGNMENT);
    EXPECT(bert_model_info(NULL, &info), BERT_ERROR_NULL);
    DO(bert_model_info(&model, &info));
    EXPECT(info.head, BERT_HEAD_JOINT);
    /* A model may be copied. */
    bert_model copy = model;
    memset(&model, 0, sizeof model);
    EXPECT(bert_model_info(&model, &info), BERT_ERROR_NOT_OPEN);
    DO(bert_model_info(&copy, &info));
    model = copy;
    EXPECT(bert_label_name(&model, info.labels, &name), BERT_ERROR_ARGUMENT);
    EXPECT(bert_tag_name(&model, info.tags, &name), BERT_ERROR_ARGUMENT);
    EXPECT(bert_tag_name(&model, 0, NULL), BERT_ERROR_NULL);
    EXPECT(bert_scratch_bytes(&model, 2, &bytes, NULL), BERT_ERROR_TOKENS);
    EXPECT(bert_scratch_bytes(&model, info.max_tokens + 1, &bytes, NULL), BERT_ERROR_TOKENS);
    DO(bert_scratch_bytes(&model, 3, &bytes, NULL));
    EXPECT(bytes < at->least, 1);
    DO(bert_scratch_bytes(&model, info.max_tokens, &bytes, NULL));
    EXPECT(bytes, at->least);
}

static void sessions(struct opened *at) {
    bert_session session;
    memset(&session, 0, sizeof session);
    bert_label label;
    bert_outcome outcome;
    EXPECT(bert_self_test(&session), BERT_ERROR_NOT_OPEN);
    EXPECT(bert_self_test(NULL), BERT_ERROR_NULL);
    void *scratch = scratch_of(at->least + BERT_SCRATCH_ALIGN);
    char *after = (char *)scratch + 8;
    EXPECT(bert_session_open(NULL, &at->model, scratch, at->least, 0), BERT_ERROR_NULL);
    EXPECT(bert_session_open(&session, NULL, scratch, at->least, 0), BERT_ERROR_NULL);
    EXPECT(bert_session_open(&session, &at->model, NULL, at->least, 0), BERT_ERROR_NULL);
    EXPECT(bert_session_open(&session, &at->model, scratch, at->least - 1, 0), BERT_ERROR_SCRATCH);
    EXPECT(bert_session_open(&session, &at->model, scratch, SIZE_MAX, 0), BERT_ERROR_ARGUMENT);
    EXPECT(bert_session_open(&session, &at->model, after, at->least, 0), BERT_ERROR_ALIGNMENT);
    EXPECT(bert_session_open(&session, &at->model, scratch, at->least, 2), BERT_ERROR_TOKENS);
    EXPECT(bert_session_open(&session, &at->model, at->file, at->length, 0), BERT_ERROR_OVERLAP);
    EXPECT(bert_session_open(&session, &at->model, &session, sizeof session, 0),
           BERT_ERROR_OVERLAP);
    EXPECT(bert_self_test(&session), BERT_ERROR_NOT_OPEN);

    DO(bert_session_open(&session, &at->model, scratch, at->least, 3));
    EXPECT(bert_self_test(&session), BERT_ERROR_TOKENS);
    DO(bert_classify(&session, "a b c", 5, &label, 1, &outcome));
    EXPECT(outcome.truncated, 1);
    EXPECT(outcome.tokens, 3);
    /* A copy would share scratch memory. */
    bert_session copy = session;
    EXPECT(bert_classify(&copy, "a", 1, &label, 1, &outcome), BERT_ERROR_NOT_OPEN);
    free(scratch);
}

static void questions(struct opened *at) {
    bert_session *session = &at->session;
    bert_label label, labels[32];
    bert_tagged tags[4];
    bert_slot slots[2];
    bert_outcome outcome;
    float numbers[4];
    EXPECT(bert_classify(session, NULL, 1, &label, 1, &outcome), BERT_ERROR_NULL);
    EXPECT(bert_classify(session, "a", 1, NULL, 1, &outcome), BERT_ERROR_NULL);
    EXPECT(bert_classify(session, "a", 1, &label, 1, NULL), BERT_ERROR_NULL);
    EXPECT(bert_classify(session, "a", 1, odd(labels), 1, &outcome), BERT_ERROR_ALIGNMENT);
    EXPECT(bert_classify(session, "a", 1, &label, 1, odd(labels)), BERT_ERROR_ALIGNMENT);
    EXPECT(bert_classify(session, "a", SIZE_MAX, &label, 1, &outcome), BERT_ERROR_ARGUMENT);
    EXPECT(bert_classify(session, "a", 1, &label, SIZE_MAX / 2, &outcome), BERT_ERROR_ARGUMENT);
    EXPECT(bert_classify(session, "\xff", 1, &label, 1, &outcome), BERT_ERROR_UTF8);
    EXPECT(bert_classify(session, "caf\xc3", 4, &label, 1, &outcome), BERT_ERROR_UTF8);
    EXPECT(bert_classify(session, at->scratch, 1, &label, 1, &outcome), BERT_ERROR_OVERLAP);
    EXPECT(bert_classify(session, "a", 1, at->scratch, 1, &outcome), BERT_ERROR_OVERLAP);
    EXPECT(bert_classify(session, "a", 1, &label, 1, at->scratch), BERT_ERROR_OVERLAP);
    EXPECT(bert_classify(session, "a", 1, (void *)session, 1, &outcome), BERT_ERROR_OVERLAP);
    /* Where results would change the model file; a pointer into it need not be aligned. */
    uintptr_t inside = ((uintptr_t)at->file + 63) / 16 * 16;
    EXPECT(bert_classify(session, "a", 1, (void *)inside, 1, &outcome), BERT_ERROR_OVERLAP);
    EXPECT(outcome.count, 0);

    /* An empty text needs no pointer, no room for results neither. */
    DO(bert_classify(session, NULL, 0, NULL, 0, &outcome));
    EXPECT(outcome.count, 0);
    EXPECT(outcome.tokens, 2);
    /* Zero bytes are text. */
    DO(bert_classify(session, "a\0b", 3, labels, 32, &outcome));

    /* The first results are written, and how many there are is known. */
    const char *text = "abc x yz d e f";
    EXPECT(bert_tag(session, text, strlen(text), &label, tags, 4, &outcome), BERT_ERROR_CAPACITY);
    EXPECT(outcome.count, 6);
    EXPECT(tags[3].word, 3);
    EXPECT(bert_tag(session, text, strlen(text), NULL, NULL, 0, &outcome), BERT_ERROR_CAPACITY);
    EXPECT(outcome.count, 6);
    EXPECT(bert_slots(session, text, strlen(text), NULL, slots, 2, &outcome), BERT_ERROR_CAPACITY);
    EXPECT(outcome.count > 2, 1);
    EXPECT(bert_tag(session, text, strlen(text), odd(labels), tags, 4, &outcome),
           BERT_ERROR_ALIGNMENT);

    EXPECT(bert_classify_pair(session, "a", 1, "b", 1, &label, 1, &outcome), BERT_ERROR_HEAD);
    EXPECT(bert_classify_labels(session, "a", 1, 0.5f, &label, 1, &outcome), BERT_ERROR_HEAD);
    EXPECT(bert_regress(session, "a", 1, numbers, 4, &outcome), BERT_ERROR_HEAD);

    bert_embed_options options = {BERT_POOLING_MEAN, BERT_LAYERS_LAST, 0, 0};
    float vector[32];
    EXPECT(bert_embed(session, "a", 1, NULL, vector, 31, &outcome), BERT_ERROR_CAPACITY);
    EXPECT(outcome.count, 32);
    options.pooling = 7;
    EXPECT(bert_embed(session, "a", 1, &options, vector, 32, &outcome), BERT_ERROR_ARGUMENT);
    options.pooling = BERT_POOLING_MEAN;
    options.layers = -1;
    EXPECT(bert_embed(session, "a", 1, &options, vector, 32, &outcome), BERT_ERROR_ARGUMENT);
    options.layers = BERT_LAYERS_ONE;
    options.layer = 3;
    EXPECT(bert_embed(session, "a", 1, &options, vector, 32, &outcome), BERT_ERROR_LAYERS);
    options.layer = UINT_MAX;
    EXPECT(bert_embed(session, "a", 1, &options, vector, 32, &outcome), BERT_ERROR_LAYERS);
    options.layers = BERT_LAYERS_CONCAT_LAST_FOUR;
    EXPECT(bert_embed(session, "a", 1, &options, vector, 32, &outcome), BERT_ERROR_LAYERS);
    EXPECT(bert_embed(session, "a", 1, odd(labels), vector, 32, &outcome), BERT_ERROR_ALIGNMENT);
    /* After all that it answers. */
    DO(bert_self_test(session));
}

static void other_heads(struct opened *regress, struct opened *several, struct opened *span) {
    bert_outcome outcome;
    bert_label labels[32];
    float number;
    EXPECT(bert_regress(&regress->session, "a", 1, &number, 1, &outcome), BERT_ERROR_CAPACITY);
    EXPECT(outcome.count > 1, 1);
    EXPECT(bert_tag(&regress->session, "a", 1, NULL, NULL, 0, &outcome), BERT_ERROR_HEAD);

    float not_a_number = bits(0.0f) == 0 ? (float)strtod("nan", NULL) : 0.0f;
    EXPECT(bert_classify_labels(&several->session, "a", 1, not_a_number, labels, 32, &outcome),
           BERT_ERROR_ARGUMENT);
    EXPECT(bert_classify_labels(&several->session, "a", 1, 0.0f, labels, 1, &outcome),
           BERT_ERROR_CAPACITY);
    EXPECT(outcome.count > 1, 1);

    bert_passage passages[40];
    bert_answers answers;
    bert_answer_options options = {0, 3, 1, not_a_number};
    const char *context = "a b c d e f g h i j k l m n o p q r s t u v w x y z";
    size_t length = strlen(context);
    EXPECT(bert_answer(&span->session, "a", 1, context, length, &options, passages, 1, &answers),
           BERT_ERROR_ARGUMENT);
    EXPECT(bert_answer(&span->session, "a", 1, context, length, NULL, passages, 1, NULL),
           BERT_ERROR_NULL);
    EXPECT(bert_answer(&span->session, context, length, context, length, NULL, passages, 1,
                       &answers),
           BERT_ERROR_TOKENS);
    EXPECT(answers.count, 0);
    DO(bert_answer(&span->session, "a", 1, context, length, NULL, passages, 40, &answers));
    EXPECT(answers.count, BERT_MAX_ANSWERS);
    EXPECT(answers.windows > 1, 1);
    DO(bert_answer(&span->session, "a", 1, NULL, 0, NULL, passages, 40, &answers));
    EXPECT(answers.count, 0);
    EXPECT(answers.has_answer, 0);
}

int main(int count, char **arguments) {
    EXPECT(count, 5);
    static struct opened joint, regress, several, span;
    open_file(&joint, arguments[1]);
    open_file(&regress, arguments[2]);
    open_file(&several, arguments[3]);
    open_file(&span, arguments[4]);
    models(&joint);
    sessions(&joint);
    questions(&joint);
    other_heads(&regress, &several, &span);
    EXPECT(strlen(bert_message(BERT_ERROR_UTF8)) > 0, 1);
    EXPECT(bert_message(12345) != NULL, 1);
    EXPECT(bert_version()[0] != 0, 1);
    close_file(&joint);
    close_file(&regress);
    close_file(&several);
    close_file(&span);
    return 0;
}
