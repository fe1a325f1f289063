#include <stdio.h>
#include <stdlib.h>

#include "operators.h"
#include "stack.h"
#include "version.h"

/* A calculator in reverse Polish notation: calc 3 4 + 2 '*' */
int main(int count, char **words) {
    Stack stack = {{0}, 0};
    for (int at = 1; at < count; at++) {
        char *end;
        double number = strtod(words[at], &end);
        if (end != words[at] && *end == '\0') {
            push(&stack, number);
        } else if (!apply(&stack, words[at])) {
            fprintf(stderr, "what is %s?\n", words[at]);
            return 1;
        }
    }
    printf("%s: %g\n", VERSION, pop(&stack));
    return 0;
}
