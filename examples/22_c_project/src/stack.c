#include <stdio.h>
#include <stdlib.h>

#include "stack.h"

/* The program ends where the stack does. */
static void refuse(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(1);
}

void push(Stack *stack, double item) {
    if (stack->depth == STACK_SIZE) refuse("too many numbers");
    stack->items[stack->depth++] = item;
}

double pop(Stack *stack) {
    if (stack->depth == 0) refuse("a number is missing");
    return stack->items[--stack->depth];
}
