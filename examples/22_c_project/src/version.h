#define VERSION "calc 1.0"
