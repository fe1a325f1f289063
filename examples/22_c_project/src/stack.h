#ifndef STACK_H
#define STACK_H

#define STACK_SIZE 64

typedef struct {
    double items[STACK_SIZE];
    int depth;
} Stack;

void push(Stack *stack, double item);
double pop(Stack *stack);

#endif
