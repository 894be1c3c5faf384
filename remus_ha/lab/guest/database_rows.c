/* The rows: an SQLite database in WAL mode, every commit synced. */
#include "database.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sqlite3 *db;
static sqlite3_stmt *insert, *select_row;

/* A small cache and a small WAL: the guest has little memory, and its disk is small. */
static const char settings[] =
    "PRAGMA synchronous = FULL;"
    "PRAGMA cache_size = -256;"
    "PRAGMA wal_autocheckpoint = 200;"
    "CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, text TEXT NOT NULL);";

static void must(int code, const char *what)
{
    if (code == SQLITE_OK)
        return;
    fprintf(stderr, "database: %s: %s\n", what, db ? sqlite3_errmsg(db) : "memory");
    exit(1);
}

static int failure(char *answer, size_t size)
{
    return snprintf(answer, size, "error %s\n", sqlite3_errmsg(db));
}

static int text_line(sqlite3_stmt *statement, char *answer, size_t size)
{
    return snprintf(answer, size, "%.*s\n", LINE, (const char *)sqlite3_column_text(statement, 0));
}

/* The first column of the first row that a question has. */
static int first_answer(const char *question, char *answer, size_t size)
{
    sqlite3_stmt *statement;
    int used;
    if (sqlite3_prepare_v2(db, question, -1, &statement, NULL) != SQLITE_OK)
        return failure(answer, size);
    if (sqlite3_step(statement) == SQLITE_ROW)
        used = text_line(statement, answer, size);
    else
        used = failure(answer, size);
    sqlite3_finalize(statement);
    return used;
}

static void choose_wal(void)
{
    char mode[ANSWER];
    first_answer("PRAGMA journal_mode = WAL", mode, sizeof mode);
    if (strcmp(mode, "wal\n") == 0)
        return;
    fprintf(stderr, "database: no WAL: %s", mode);
    exit(1);
}

void open_rows(const char *directory)
{
    char path[PATH + 16];
    snprintf(path, sizeof path, "%s/rows.db", directory);
    must(sqlite3_open(path, &db), path);
    choose_wal();
    must(sqlite3_exec(db, settings, NULL, NULL, NULL), path);
    must(sqlite3_prepare_v2(db, "INSERT INTO rows (text) VALUES (?)", -1, &insert, NULL), path);
    must(sqlite3_prepare_v2(db, "SELECT text FROM rows WHERE number = ?", -1, &select_row, NULL),
         path);
}

int insert_answer(const char *text, char *answer, size_t size)
{
    sqlite3_bind_text(insert, 1, text, -1, SQLITE_STATIC);
    sqlite3_step(insert);
    /* Also says whether the step failed: without an error the row is committed. */
    if (sqlite3_reset(insert) != SQLITE_OK)
        return failure(answer, size);
    return snprintf(answer, size, "row %lld\n", (long long)sqlite3_last_insert_rowid(db));
}

int row_answer(const char *number, char *answer, size_t size)
{
    int used;
    sqlite3_bind_int64(select_row, 1, strtoll(number, NULL, 10));
    switch (sqlite3_step(select_row)) {
    case SQLITE_ROW:
        used = text_line(select_row, answer, size);
        break;
    case SQLITE_DONE:
        used = snprintf(answer, size, "absent\n");
        break;
    default:
        used = failure(answer, size);
    }
    sqlite3_reset(select_row);
    return used;
}

int count_answer(char *answer, size_t size)
{
    return first_answer("SELECT count(*) FROM rows", answer, size);
}

/* Only its first finding, of which only the first line: it may have several. */
int check_answer(char *answer, size_t size)
{
    first_answer("PRAGMA integrity_check(1)", answer, size);
    size_t length = strcspn(answer, "\n");
    answer[length + 1] = 0;
    return (int)length + 1;
}
