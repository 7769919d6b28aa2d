/* reply_failure.c - what a consumer is told of a failure: a problem in words of ours, never the statement or the server's words.
 *
 * Path:   script/handler, script/reply_value > [script/reply_failure] > script/failure, http/problem
 */
#include "script/reply_value.h"

/* Why there is no service, in words for consumers. */
static const char *unavailable_detail(const struct failure *failure)
{
    static const struct {
        const char *sqlstate, *detail;
    } words[] = {
        { "55P03", "the data is locked by another program at the moment; try again" },
        { "53100", "the disk of the database is full: nothing of this was kept" },
        { "53300", "all connections to the database are busy; try again" },
        { "53", "the database has no room for more work at the moment; try again" },
        { "25006", "the data can only be read at the moment: nothing of this was kept" },
        { "40", "others changed the same data at the same time; try again" },
    };
    if (failure->told)
        return failure->told;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (sql_error_is(&failure->error, words[i].sqlstate))
            return words[i].detail;
    if (failure->fail == FAIL_FULL)
        return "too much is being worked on at the moment; try again";
    if (failure->fail == FAIL_TIMEOUT)
        return "what this request needs did not come in time; try again";
    return "the data cannot be reached at the moment; try again";
}

void reply_from_failure(const struct failure *failure, const struct http_request *request, struct reply_out *out)
{
    int status = failure_status(failure);
    const char *slug = "internal", *detail = "the request failed; the log tells more under this request_id";
    switch (status) {
    case 400:
        slug = "invalid-value";
        detail = "a value is not of the type it must be";
        break;
    case 403:
        slug = "not-allowed";
        detail = "the database does not allow this";
        break;
    case 409:
        slug = "conflict";
        detail = "this conflicts with what is stored";
        break;
    case 422:
        slug = "invalid-value";
        detail = "the database refuses a value";
        break;
    case 503:
        slug = "unavailable";
        detail = unavailable_detail(failure);
        break;
    case 504:
        slug = "deadline";
        detail = "the request took longer than it may";
        break;
    default: break;
    }
    if (failure_retry_s(failure))
        buf_addf(&out->fields, "Retry-After: %u\r\n", failure_retry_s(failure));
    reply_from_status(status, slug, detail, request, out);
}
