/* What the parts of the standard guest's database program share; database.c says what it does.
 *
 * Commands are answered one at a time, so what follows needs no lock of its own. Every answer is
 * one line; its functions return the line's length, as snprintf does.
 */
#ifndef DATABASE_H
#define DATABASE_H

#include <stddef.h>

enum {
    DATABASE_PORT = 7780,
    LINE = 1024,
    ANSWER = LINE + 64,
    PATH = 256,
};

_Noreturn void die(const char *what);

/* Begin: each is called once, in this order, or the program ends. */
void mount_disk(const char *device, const char *directory);
void open_rows(const char *directory);
void open_files(const char *directory);
_Noreturn void serve(void);

int answer_command(const char *line, char *answer, size_t size);

int insert_answer(const char *text, char *answer, size_t size);
int row_answer(const char *number, char *answer, size_t size);
int count_answer(char *answer, size_t size);
int check_answer(char *answer, size_t size);

int save_answer(const char *name, size_t length, const char *text, char *answer, size_t size);
int file_answer(const char *name, size_t length, char *answer, size_t size);

#endif
