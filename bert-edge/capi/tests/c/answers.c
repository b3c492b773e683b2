/* Prints what a model answers: `answers MODEL TEXT…`, where neighbours are pairs, for questions the first
 * text is the context. The test in Rust compares each line with what bert-core says. */
#include "check.h"

static void *(*volatile keep)(size_t) = malloc;
static size_t allocations;

#ifdef COUNT_ALLOCATIONS
/* The linker sends every allocation of this program and of the static library here (`--wrap`). */
void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
int __real_posix_memalign(void **at, size_t align, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
int __wrap_posix_memalign(void **at, size_t align, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

void *__wrap_malloc(size_t bytes) {
    allocations++;
    return __real_malloc(bytes);
}
void *__wrap_calloc(size_t count, size_t bytes) {
    allocations++;
    return __real_calloc(count, bytes);
}
void *__wrap_realloc(void *old, size_t bytes) {
    allocations++;
    return __real_realloc(old, bytes);
}
int __wrap_posix_memalign(void **at, size_t align, size_t bytes) {
    allocations++;
    return __real_posix_memalign(at, align, bytes);
}
void *__wrap_aligned_alloc(size_t align, size_t bytes) {
    allocations++;
    return __real_aligned_alloc(align, bytes);
}
#endif

enum { MOST = 64, VECTOR = 4 * 128 };

static void print_name(bert_text name) {
    printf(" %.*s", (int)name.length, name.bytes);
}

static void print_label(const bert_label *label) {
    printf(" %u %08x", label->label, bits(label->probability));
    print_name(label->name);
}

static void print_labels(const bert_label *labels, const bert_outcome *outcome) {
    printf("labels %zu %u %d", outcome->count, outcome->tokens, outcome->truncated);
    for (size_t i = 0; i < outcome->count; i++) {
        print_label(&labels[i]);
    }
    printf("\n");
}

static void print_numbers(const char *what, const float *numbers, const bert_outcome *outcome) {
    printf("%s %zu %u %d", what, outcome->count, outcome->tokens, outcome->truncated);
    for (size_t i = 0; i < outcome->count; i++) {
        printf(" %08x", bits(numbers[i]));
    }
    printf("\n");
}

static void tags_and_slots(bert_session *session, int joint, const char *text) {
    bert_tagged tags[MOST];
    bert_slot slots[MOST];
    bert_label label;
    bert_outcome outcome;
    size_t length = strlen(text);
    DO(bert_tag(session, text, length, joint ? &label : NULL, tags, MOST, &outcome));
    printf("tags %zu %u %d", outcome.count, outcome.tokens, outcome.truncated);
    if (joint) {
        print_label(&label);
    }
    for (size_t i = 0; i < outcome.count; i++) {
        printf(" %u %u %u %u %08x", tags[i].word, tags[i].start, tags[i].end, tags[i].tag,
               bits(tags[i].probability));
        print_name(tags[i].name);
    }
    printf("\n");
    DO(bert_slots(session, text, length, joint ? &label : NULL, slots, MOST, &outcome));
    printf("slots %zu", outcome.count);
    for (size_t i = 0; i < outcome.count; i++) {
        printf(" %u %u %08x", slots[i].start, slots[i].end, bits(slots[i].probability));
        print_name(slots[i].name);
    }
    printf("\n");
}

/* Whether the question leaves room for its context. */
static int passages(bert_session *session, const char *question, const char *context) {
    bert_answer_options options = {2, 5, 1, 0.5f};
    bert_passage found[5];
    bert_answers answers;
    bert_status status = bert_answer(session, question, strlen(question), context, strlen(context),
                                     &options, found, 5, &answers);
    if (status == BERT_ERROR_TOKENS) {
        printf("no room\n");
        return 0;
    }
    DO(status);
    printf("answers %zu %u %08x %08x %d", answers.count, answers.windows,
           bits(answers.no_answer_score), bits(answers.no_answer_probability), answers.has_answer);
    for (size_t i = 0; i < answers.count; i++) {
        printf(" %u %u %08x %08x", found[i].start, found[i].end, bits(found[i].score),
               bits(found[i].probability));
    }
    printf("\n");
    return 1;
}

static void ask(bert_session *session, const bert_info *info, const char *text, const char *next) {
    static float numbers[VECTOR];
    bert_label labels[MOST];
    bert_outcome outcome;
    size_t length = strlen(text), next_length = strlen(next);
    switch (info->head) {
    case BERT_HEAD_CLASSIFY:
        DO(bert_classify(session, text, length, labels, MOST, &outcome));
        print_labels(labels, &outcome);
        /* The best alone is the first of all. */
        DO(bert_classify(session, text, length, &labels[1], 1, &outcome));
        EXPECT(outcome.count, 1);
        EXPECT(labels[1].label, labels[0].label);
        break;
    case BERT_HEAD_JOINT:
        DO(bert_classify(session, text, length, labels, MOST, &outcome));
        print_labels(labels, &outcome);
        tags_and_slots(session, 1, text);
        break;
    case BERT_HEAD_TAG:
        tags_and_slots(session, 0, text);
        break;
    case BERT_HEAD_PAIR_CLASSIFY:
        DO(bert_classify_pair(session, text, length, next, next_length, labels, MOST, &outcome));
        print_labels(labels, &outcome);
        break;
    case BERT_HEAD_MULTI_LABEL:
        DO(bert_classify_labels(session, text, length, 0.5f, labels, MOST, &outcome));
        print_labels(labels, &outcome);
        break;
    case BERT_HEAD_REGRESS:
        DO(bert_regress(session, text, length, numbers, VECTOR, &outcome));
        print_numbers("numbers", numbers, &outcome);
        DO(bert_regress_pair(session, text, length, next, next_length, numbers, VECTOR, &outcome));
        print_numbers("numbers", numbers, &outcome);
        break;
    case BERT_HEAD_SPAN:
        if (!passages(session, text, next)) {
            return;
        }
        break;
    default:
        break;
    }
    DO(bert_embed(session, text, length, NULL, numbers, info->hidden, &outcome));
    print_numbers("vector", numbers, &outcome);
    bert_embed_options options = {BERT_POOLING_FIRST, BERT_LAYERS_ONE, 1, 1};
    DO(bert_embed(session, text, length, &options, numbers, VECTOR, &outcome));
    print_numbers("vector", numbers, &outcome);
}

int main(int count, char **arguments) {
    EXPECT(count > 2, 1);
    EXPECT(bert_abi_version(), BERT_ABI_VERSION);
    /* Kept from the compiler, which may leave out an allocation that nobody uses. */
    free(keep(1));
    size_t length, least, fastest;
    void *file = read_file(arguments[1], &length);
    bert_model model;
    bert_info info;
    bert_session session;
    DO(bert_model_open(&model, file, length));
    DO(bert_model_info(&model, &info));
    DO(bert_scratch_bytes(&model, 0, &least, &fastest));
    EXPECT(least <= fastest, 1);
    void *scratch = scratch_of(fastest);
#ifdef COUNT_ALLOCATIONS
    EXPECT(allocations > 0, 1);
#endif
    size_t before = allocations;
    DO(bert_model_open(&model, file, length));
    /* With as little memory as possible, then as fast as possible: the same answers. */
    for (int turn = 0; turn < 2; turn++) {
        DO(bert_session_open(&session, &model, scratch, turn == 0 ? least : fastest, 0));
        DO(bert_self_test(&session));
        for (int i = 2; i < count; i++) {
            ask(&session, &info, arguments[i], arguments[i + 1 < count ? i + 1 : 2]);
        }
    }
    for (unsigned i = 0; i < info.labels; i++) {
        bert_text name;
        DO(bert_label_name(&model, i, &name));
        printf("label");
        print_name(name);
        printf("\n");
    }
    for (unsigned i = 0; i < info.tags; i++) {
        bert_text name;
        DO(bert_tag_name(&model, i, &name));
        printf("tag");
        print_name(name);
        printf("\n");
    }
    EXPECT(allocations - before, 0);
    free(scratch);
    free(file);
    return 0;
}
