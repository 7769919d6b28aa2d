# autosize.awk - from the lines of tools/bench/autosize (LOAD SIZE RATE P50 P99 LEAST MOST) to its table and chart.

{
    k = $1 " " $2
    n[k]++
    for (i = 3; i <= 7; i++) v[k, n[k], i] = $i + 0
}

function median(k, i,    c, a, b, t, w) {
    c = n[k]
    for (a = 1; a <= c; a++) w[a] = v[k, a, i]
    for (a = 2; a <= c; a++) for (b = a; b > 1 && w[b] < w[b - 1]; b--) { t = w[b]; w[b] = w[b - 1]; w[b - 1] = t }
    return c % 2 ? w[(c + 1) / 2] : (w[c / 2] + w[c / 2 + 1]) / 2
}
function extreme(k, i, sign,    a, e) { e = v[k, 1, i]; for (a = 2; a <= n[k]; a++) if (sign * v[k, a, i] > sign * e) e = v[k, a, i]; return e }
function bar(part,    text, a) { for (a = 0; a < int(part * 40 + 0.5); a++) text = text "#"; return text }

END {
    count = split(sizes, size)
    load_count = split(loads, load)
    print "| load | best fixed size | statements/s, p99 ms | autosize | statements/s, p99 ms | ratio | bar | met |"
    print "|---|---|---|---|---|---|---|---|"
    for (l = 1; l <= load_count; l++) {
        best = ""
        for (s = 1; s <= count; s++)
            if (best == "" || median(load[l] " " size[s], 3) > median(load[l] " " best, 3)) best = size[s]
        k = load[l] " auto"; b = load[l] " " best; most[l] = median(b, 3)
        ratio = median(k, 3) / median(b, 3)
        if (median(k, 3) > most[l]) most[l] = median(k, 3)
        printf "| %s | %s | %d, %.2f | %d to %d | %d, %.2f | %.2f | >= 0.90 | %s |\n", load[l], best, median(b, 3), median(b, 5),
            extreme(k, 6, -1), extreme(k, 7, 1), median(k, 3), median(k, 5), ratio, ratio >= 0.9 ? "yes" : "no"
    }
    print "\n```text"
    for (l = 1; l <= load_count; l++) {
        printf "%s\n", load[l]
        for (s = 1; s <= count + 1; s++) {
            name = s <= count ? size[s] : "auto"
            k = load[l] " " name
            printf "  %4s %8d/s %8.2f ms  %s\n", name, median(k, 3), median(k, 5), bar(median(k, 3) / most[l])
        }
    }
    print "```"
}
