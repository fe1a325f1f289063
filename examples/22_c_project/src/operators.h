#ifndef OPERATORS_H
#define OPERATORS_H

#include "stack.h"

/* Apply the operator of this name to the top of the stack; 0 when there is none. */
int apply(Stack *stack, const char *name);

#endif
