# pool.awk - from the lines of tools/bench/pool (NAME FIGURE...) to its table.

{
    rows[$1]++
    for (k = 2; k <= NF; k++) cell[$1, rows[$1], k - 1] = $k + 0
}

function median(name, k,    n, i, j, t, v) {
    n = rows[name]
    if (!n) return 0
    for (i = 1; i <= n; i++) v[i] = cell[name, i, k]
    for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}

function worst(name, k,    i, w) { for (i = 1; i <= rows[name]; i++) if (cell[name, i, k] > w) w = cell[name, i, k]; return w + 0 }
function larger(a, b) { return a > b ? a : b }
function ratio(a, b) { return b ? a / b : 0 }
function verdict(is_met) { return is_met ? "yes" : "no" }
function row(what, measured, bar, is_met) { printf "| %s | %s | %s | %s |\n", what, measured, bar, verdict(is_met) }

function wide(name, what) {
    if (rows[name])
        row(what, sprintf("%d/s, p95 %.1f, p99 %.1f ms, %d errors", median(name, 1), worst(name, 3), worst(name, 4), worst(name, 5)),
            "p95 < 50 ms, 0 errors", worst(name, 3) < 50 && worst(name, 5) == 0)
}

END {
    print "| case | measured | bar | met |"
    print "|---|---|---|---|"
    if (rows["select.wick"]) {
        w = median("select.wick", 1); p = larger(median("select.pgbench", 1), median("select.pgbench20", 1)); n = median("select.node", 1)
        row("point select over HTTP and Lua, 64 clients, beside pgbench -M prepared (better of 8 and 20)",
            sprintf("%d/s, pgbench %d/s: %.2f x", w, p, ratio(w, p)), ">= 1.2 x", ratio(w, p) >= 1.2)
        if (n) row("the same beside fastify + pg", sprintf("%d/s, fastify %d/s: %.2f x", w, n, ratio(w, n)), ">= 4.5 x", ratio(w, n) >= 4.5)
        row("its p99 beside wick without batching", sprintf("%.2f ms, unbatched %.2f ms (%d/s)", median("select.wick", 4), median("select.alone", 4),
            median("select.alone", 1)), "below", median("select.wick", 4) < median("select.alone", 4))
    }
    if (rows["insert.wick"]) {
        w = median("insert.wick", 1); p = larger(median("insert.pgbench8", 1), larger(median("insert.pgbench20", 1), median("insert.pgbench50", 1)))
        row("grouped insert over HTTP and Lua, 64 clients, beside pgbench's single inserts (best of 8, 20 and 50)",
            sprintf("%d/s, pgbench %d/s: %.2f x", w, p, ratio(w, p)), ">= 2 x", ratio(w, p) >= 2)
    }
    if (rows["acquire.c"]) {
        row("acquire and release of an idle connection, C", sprintf("%.2f us", median("acquire.c", 1)), "<= 1 us", median("acquire.c", 1) <= 1)
        row("the same from Lua", sprintf("%.2f us", median("acquire.lua", 1)), "<= 3 us", median("acquire.lua", 1) <= 3)
    }
    split("1 8 20 50", counts)
    for (i = 1; i <= 4; i++) if (rows["direct.pool" counts[i]]) {
        c = counts[i]; a = "direct.pool" c; l = "direct.libpq" c; u = "direct.alone" c
        row("statements/s, " c " in flight, beside libpq alone (p50 / p99 ms)",
            sprintf("%d (%.3f / %.3f), libpq %d (%.3f / %.3f): %.2f x; without batching %d: %.2f x", median(a, 1), median(a, 2), median(a, 3),
                median(l, 1), median(l, 2), median(l, 3), ratio(median(a, 1), median(l, 1)), median(u, 1), ratio(median(u, 1), median(l, 1))),
            ">= 0.95 x, p50 and p99 <= 1.05 x", ratio(median(a, 1), median(l, 1)) >= 0.95 && median(a, 2) <= 1.05 * median(l, 2) &&
            median(a, 3) <= 1.05 * median(l, 3))
    }
    wide("wide.paced", "1,000 HTTP clients on 20 connections, 100 ms between an answer and the next request")
    wide("wide.wick", "the same without a pause: all that the machine can do")
}
