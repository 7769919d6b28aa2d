# table.awk - from the lines of measure.sh to the table that run prints.

BEGIN {
    split("static l1 l2 l3 post crud", order)
    bar["static"] = 1; bar["l1"] = 1; bar["l2"] = 1.3; bar["l3"] = 2.5; bar["post"] = 1.5; bar["crud"] = 2.5
    what["static"] = "route cache hit, no Lua"; what["l1"] = "Lua, L1 hit"; what["l2"] = "Lua, L2 hit (Redis)"
    what["l3"] = "Lua, PostgreSQL point select"; what["post"] = "Lua, insert returning"; what["crud"] = "crud mix"
}

function before(word,    i) { for (i = 2; i <= NF; i++) if ($i ~ word) return $(i - 1) + 0; return "" }
function after(word,    i) { for (i = 1; i < NF; i++) if ($i == word) return $(i + 1) + 0; return "" }

/ req\/s/ {
    split($1, part, ".")
    side = part[1] == "ext" ? "wick" : "peer"
    key = side SUBSEP part[2]
    name[key] = $1
    rate[key] = before("^req/s$"); p50[key] = after("p50"); p99[key] = after("p99"); bad[key] = after("bad")
    mb[key] = before("^MB$"); us[key] = before("^us/req$"); wrk[key] = after("wrk"); other[key] = after("other")
    pairs++
}
/^idle / { idle[++idles] = $2; idle_mb[idles] = before("^MB$"); idle_errors[idles] = after("errors") }
/^mixed:/ {
    if (after("p50") > mix50) mix50 = after("p50")
    if (after("p95") > mix95) mix95 = after("p95")
    if (after("p99") > mix99) mix99 = after("p99")
    mix_errors += after("errors"); mixes++
}

function verdict(is_met) { return is_met ? "yes" : "no" }

function pair_row(c,    w, p, r, u, at_limit) {
    w = "wick" SUBSEP c; p = "peer" SUBSEP c
    if (!(w in rate)) return
    printf "| %s | %d | %.2f / %.2f | %.1f | %.1f |", what[c], rate[w], p50[w], p99[w], us[w], mb[w]
    if (!(p in rate)) { print " - | - | - | - | - | - | - | >= " bar[c] " x | - | - |"; return }
    r = rate[w] / rate[p]; u = us[p] / us[w]
    at_limit = wrk[w] >= 90 || wrk[p] >= 90
    noise = other[w] > other[p] ? other[w] : other[p]
    if (noise > noisiest) noisiest = noise
    printf " %s | %d | %.2f / %.2f | %.1f | %.1f | %.2f | %.2f | >= %s x | %s%s | %d %% |\n", name[p], rate[p], p50[p], p99[p], us[p], mb[p],
        r, u, bar[c], verdict(bad[w] == 0 && u >= bar[c] && (at_limit || r >= bar[c])), at_limit ? " (wrk at its limit)" : "", noise
    if (bad[w] + bad[p]) notes = notes sprintf("\n%s: %d bad answers of wick, %d of the peer.", c, bad[w], bad[p])
}

END {
    if (pairs) {
        print "| case | wick req/s | p50 / p99 ms | us | MB | peer | req/s | p50 / p99 ms | us | MB | ratio req/s | ratio CPU | bar | met | other |"
        print "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
        for (i = 1; i <= 6; i++) pair_row(order[i])
        if (noisiest > 20) notes = notes "\nNot a quiet run: other processes took up to " noisiest " % of a core."
        print ""
    }
    if (idles || mixes) {
        print "| wick alone | measured | bar | met |"
        print "|---|---|---|---|"
    }
    for (i = 1; i <= idles; i++)
        if (idle[i] == 1000)
            printf "| memory with 1,000 open connections, empty cache | %.1f MB, %d errors | <= 40 MB | %s |\n", idle_mb[i], idle_errors[i],
                verdict(idle_mb[i] <= 40 && !idle_errors[i])
        else
            printf "| 10,000 idle connections, each hundredth asked again | %.1f MB, %d errors | 0 errors | %s |\n", idle_mb[i], idle_errors[i],
                verdict(!idle_errors[i])
    if (mixes)
        printf "| crud mix, 200 connections, worst of %d rounds | p50 %.1f, p95 %.1f, p99 %.1f ms, %d errors | p95 < 50, p99 < 100 ms, 0 errors | %s |\n",
            mixes, mix50, mix95, mix99, mix_errors, verdict(mix95 < 50 && mix99 < 100 && !mix_errors)
    if (notes) print notes
}
