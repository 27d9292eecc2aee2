/* A ternary product in a program that makes no code while it runs: `kernelgen emit` wrote product.o and product.h, the
 * linker put product.o into this program, and `kernelgen pack` packed the weights. See run.sh.
 *
 * The product is of one matrix, or of a pair with the epilogue `relu2`, and has one scale a matrix.
 *
 *   main make MATRIX TRITS SCALES    writes the weights of matrix 0 or 1, as `kernelgen pack` reads them
 *   main run PACKED                  multiplies with the packed ones, and compares with a plain loop, bit for bit
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <malloc.h>
#define aligned_alloc(alignment, bytes) _aligned_malloc(bytes, alignment)
#endif

#include "product.h"

enum { M = PRODUCT_M, K = PRODUCT_K, MATRICES = PRODUCT_MATRICES, TOKENS = PRODUCT_TOKENS ? PRODUCT_TOKENS : 5 };
enum { GRANULE = PRODUCT_TOKEN_GRANULE, ROOM = (TOKENS + GRANULE - 1) / GRANULE * GRANULE };
enum { FORMS = (ROOM + PRODUCT_FORM_GROUP - 1) / PRODUCT_FORM_GROUP };

static int trit(int matrix, int row, int column) {
    return (int)((row * 2654435761u + column * 40503u + matrix * 977u) >> 13) % 3 - 1;
}

static float scale(int matrix) { return matrix ? 0.0522f : 0.0371f; }

static float input(int token, int column) {
    return (float)((int)((token * 7919u + column * 104729u) >> 3) % 1000 - 500) / 499.0f;
}

static void check(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "error: %s\n", what);
        exit(1);
    }
}

static void *room(size_t bytes) {
    /* Rounded up, as aligned_alloc asks. */
    void *memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
    check(memory != NULL, "no memory");
    memset(memory, 0, (bytes + 64) / 64 * 64);
    return memory;
}

static void make(int matrix, const char *trits, const char *scales) {
    check(matrix >= 0 && matrix < MATRICES, "there is no such matrix");
    FILE *file = fopen(trits, "wb");
    check(file != NULL, "cannot write the weights");
    for (int row = 0; row < M; row++)
        for (int column = 0; column < K; column++) fputc((signed char)trit(matrix, row, column), file);
    check(fclose(file) == 0, "cannot write the weights");
    float s = scale(matrix);
    file = fopen(scales, "wb");
    check(file != NULL && fwrite(&s, sizeof s, 1, file) == 1 && fclose(file) == 0, "cannot write the scale");
}

/* The scale of a token's row, in the order of operations that the header gives. */
static float multiplier(const float *x) {
    float largest = 1e-5f;
    for (int column = 0; column < K; column++) largest = fmaxf(largest, fabsf(x[column]));
    return 1.0f / largest * 127.0f;
}

/* What the product of a row of weights and a token should be, likewise. */
static float plain(int matrix, int row, const float *x, float a) {
    int sum = 0;
    for (int column = 0; column < K; column++) sum += trit(matrix, row, column) * (int)rintf(x[column] * a);
    return (float)sum * scale(matrix) / a;
}

/* The output: of a pair, what `relu2` makes of gate and up. */
static float output(int row, const float *x, float a) {
    float gate = plain(0, row, x, a);
    if (MATRICES == 1) return gate;
    gate = fmaxf(gate, 0.0f);
    return gate * gate * plain(1, row, x, a);
}

static void run(const char *packed) {
    unsigned char *weights = room(PRODUCT_WEIGHT_BYTES + 4 * PRODUCT_SCALES);
    FILE *file = fopen(packed, "rb");
    check(file != NULL, "cannot read the packed weights");
    size_t bytes = PRODUCT_WEIGHT_BYTES + 4 * PRODUCT_SCALES;
    check(fread(weights, 1, bytes, file) == bytes, "the packed weights are cut off");
    fclose(file);

    float *x = room(sizeof(float) * TOKENS * K), *y = room(sizeof(float) * TOKENS * M);
    for (int token = 0; token < TOKENS; token++)
        for (int column = 0; column < K; column++) x[token * K + column] = input(token, column);
    signed char *rows = room(TOKENS * PRODUCT_ROW_BYTES + PRODUCT_SLACK);
    struct craftsman_arguments quantize = {
        .source = x,
        .activations = rows,
        .token_words = room(4 * ROOM * PRODUCT_TOKEN_WORDS),
        .scratch = room(PRODUCT_SCRATCH_BYTES),
        .tokens = TOKENS,
    };
    struct craftsman_arguments call = {
        .weights = weights,
        .scales = (const float *)(weights + PRODUCT_WEIGHT_BYTES),
        .activations = rows,
        .token_words = quantize.token_words,
        .output = y,
        .scratch = quantize.scratch,
        .panels = PRODUCT_PANELS,
        .tail = PRODUCT_TAIL,
        .tokens = TOKENS,
    };
    product_quantize(&quantize);
#if PRODUCT_HAS_INPUT
    struct craftsman_arguments form = call;
    form.source = rows;
    form.activations = call.activations = room(FORMS * PRODUCT_FORM_BYTES);
    product_input(&form);
#endif
    product(&call);

    for (int token = 0; token < TOKENS; token++) {
        float a = multiplier(x + token * K);
        for (int row = 0; row < M; row++) {
            float expected = output(row, x + token * K, a);
            check(memcmp(&expected, y + token * M + row, sizeof expected) == 0, "the product is wrong");
        }
    }
    printf("exact: %d rows of %d tokens, first %g\n", M, TOKENS, y[0]);
}

int main(int count, char **arguments) {
    if (count == 5 && strcmp(arguments[1], "make") == 0)
        make(atoi(arguments[2]), arguments[3], arguments[4]);
    else if (count == 3 && strcmp(arguments[1], "run") == 0)
        run(arguments[2]);
    else
        check(0, "usage: main make MATRIX TRITS SCALES | main run PACKED");
    return 0;
}
