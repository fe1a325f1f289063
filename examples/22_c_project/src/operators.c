#include "operators.h"

int apply(Stack *stack, const char *name) {
    if (name[0] == '\0' || name[1] != '\0') return 0;
    double right = pop(stack), left = pop(stack);
    switch (name[0]) {
    case '+': push(stack, left + right); return 1;
    case '-': push(stack, left - right); return 1;
    case '*': push(stack, left * right); return 1;
    case '/': push(stack, left / right); return 1;
    }
    push(stack, left);
    push(stack, right);
    return 0;
}
