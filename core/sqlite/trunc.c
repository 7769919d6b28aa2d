/* trunc.c - a timestamp taken apart, cut, and put together again.
 *
 * DESIGN  Years 0001 to 9999, the proleptic Gregorian calendar; weeks begin on Monday (ISO 8601); a century begins with
 *         its year 1, a decade with its year 0: as PostgreSQL's date_trunc. The result always has hours, minutes and
 *         seconds; a fraction only where the field keeps one.
 * Path:   sqlite/functions > [sqlite/trunc]
 */
#include "sqlite/trunc.h"

#include <stdio.h>

struct stamp {
    int year, month, day, hour, minute, second, micros;
    char separator;
    struct str zone;
};

/* --- days since 0000-03-01, Howard Hinnant's civil calendar --- */

static int days_of(int year, int month, int day)
{
    year -= month <= 2;
    int era = year / 400, year_of_era = year - era * 400;
    int day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
}

static void date_of(int days, struct stamp *stamp)
{
    int era = days / 146097, day_of_era = days - era * 146097;
    int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int shifted = (5 * day_of_year + 2) / 153;
    stamp->day = day_of_year - (153 * shifted + 2) / 5 + 1;
    stamp->month = shifted < 10 ? shifted + 3 : shifted - 9;
    stamp->year = year_of_era + era * 400 + (stamp->month <= 2);
}

/* 0000-03-01 was a Wednesday: day 0 is 2 after Monday. */
static void to_monday(struct stamp *stamp)
{
    int days = days_of(stamp->year, stamp->month, stamp->day);
    date_of(days - (days + 2) % 7, stamp);
}

/* --- reading --- */

static bool take_number(struct str *text, size_t digits, int *out)
{
    if (text->len < digits)
        return false;
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        if (text->data[i] < '0' || text->data[i] > '9')
            return false;
        *out = *out * 10 + (text->data[i] - '0');
    }
    *text = str_make(text->data + digits, text->len - digits);
    return true;
}

static bool take_char(struct str *text, char c)
{
    if (text->len == 0 || text->data[0] != c)
        return false;
    *text = str_make(text->data + 1, text->len - 1);
    return true;
}

static bool take_fraction(struct str *text, int *micros)
{
    int digits = 0;
    for (; text->len && text->data[0] >= '0' && text->data[0] <= '9'; digits++) {
        if (digits < 6)
            *micros = *micros * 10 + (text->data[0] - '0');
        *text = str_make(text->data + 1, text->len - 1);
    }
    for (int i = digits; i < 6; i++)
        *micros *= 10;
    return digits > 0;
}

static bool take_time(struct str *text, struct stamp *stamp)
{
    if (!take_number(text, 2, &stamp->hour) || !take_char(text, ':') || !take_number(text, 2, &stamp->minute))
        return false;
    if (!take_char(text, ':'))
        return true;
    return take_number(text, 2, &stamp->second) && (!take_char(text, '.') || take_fraction(text, &stamp->micros));
}

static bool is_zone(struct str text)
{
    if (text.len == 0 || str_is(text, STR("Z")))
        return true;
    if (text.len > 9 || (text.data[0] != '+' && text.data[0] != '-'))
        return false;
    for (size_t i = 1; i < text.len; i++)
        if (text.data[i] != ':' && (text.data[i] < '0' || text.data[i] > '9'))
            return false;
    return true;
}

static bool in_range(const struct stamp *stamp)
{
    return stamp->year >= 1 && stamp->month >= 1 && stamp->month <= 12 && stamp->day >= 1 && stamp->day <= 31 &&
           stamp->hour <= 24 && stamp->minute <= 59 && stamp->second <= 60;
}

static bool read_stamp(struct str text, struct stamp *stamp)
{
    *stamp = (struct stamp){ .separator = ' ' };
    if (!take_number(&text, 4, &stamp->year) || !take_char(&text, '-') || !take_number(&text, 2, &stamp->month) ||
        !take_char(&text, '-') || !take_number(&text, 2, &stamp->day))
        return false;
    if (text.len && (text.data[0] == ' ' || text.data[0] == 'T')) {
        stamp->separator = text.data[0];
        take_char(&text, text.data[0]);
        if (!take_time(&text, stamp))
            return false;
    }
    stamp->zone = text;
    return is_zone(text) && in_range(stamp);
}

/* --- cutting --- */

enum field {
    MICROS,
    MILLIS,
    SECOND,
    MINUTE,
    HOUR,
    DAY,
    WEEK,
    MONTH,
    QUARTER,
    YEAR,
    DECADE,
    CENTURY,
    MILLENNIUM,
    FIELDS
};
static const char *const field_names[FIELDS] = { "microseconds", "milliseconds", "second",    "minute",  "hour",
                                                 "day",          "week",         "month",     "quarter", "year",
                                                 "decade",       "century",      "millennium" };

static void cut(struct stamp *stamp, enum field field)
{
    if (field == MILLIS)
        stamp->micros -= stamp->micros % 1000;
    if (field >= SECOND)
        stamp->micros = 0;
    if (field >= MINUTE)
        stamp->second = 0;
    if (field >= HOUR)
        stamp->minute = 0;
    if (field >= DAY)
        stamp->hour = 0;
    if (field == WEEK)
        to_monday(stamp);
    if (field >= MONTH)
        stamp->day = 1;
    if (field == QUARTER)
        stamp->month -= (stamp->month - 1) % 3;
    if (field >= YEAR)
        stamp->month = 1;
    if (field == DECADE)
        stamp->year -= stamp->year % 10;
    if (field == CENTURY)
        stamp->year -= (stamp->year - 1) % 100;
    if (field == MILLENNIUM)
        stamp->year -= (stamp->year - 1) % 1000;
}

static void write_stamp(const struct stamp *stamp, char out[SQLITE_TRUNC_BYTES])
{
    char fraction[8] = "";
    if (stamp->micros) {
        snprintf(fraction, sizeof fraction, ".%06u", (unsigned)stamp->micros % 1000000u);
        for (size_t end = 7; fraction[end - 1] == '0'; end--)
            fraction[end - 1] = '\0';
    }
    snprintf(out, SQLITE_TRUNC_BYTES, "%04d-%02d-%02d%c%02d:%02d:%02d%s%.*s", stamp->year, stamp->month, stamp->day,
             stamp->separator, stamp->hour, stamp->minute, stamp->second, fraction, (int)stamp->zone.len,
             stamp->zone.data);
}

const char *sqlite_trunc(struct str field, struct str timestamp, char out[SQLITE_TRUNC_BYTES])
{
    struct stamp stamp;
    if (!read_stamp(timestamp, &stamp))
        return "date_trunc takes a timestamp such as 2024-02-29 12:00:00+00";
    for (int i = 0; i < FIELDS; i++)
        if (str_is_nocase(field, str_of(field_names[i]))) {
            cut(&stamp, (enum field)i);
            write_stamp(&stamp, out);
            return NULL;
        }
    return "date_trunc knows microseconds milliseconds second minute hour day week month quarter year decade century "
           "millennium";
}
