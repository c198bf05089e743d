# SPDX-License-Identifier: GPL-2.0-or-later
# dracut-module/parts as C: see doctor/parts.h.
BEGIN {
    when["always"] = "PART_ALWAYS"; when["systemd"] = "PART_SYSTEMD"; when["plain"] = "PART_PLAIN"
    when["networkd"] = "PART_NETWORKD"
    kind["script"] = kind["file"] = kind["hook"] = "PART_COPY"; kind["link"] = "PART_LINK"; kind["made"] = "PART_MADE"
    finding["image-hooks"]; finding["image-units"]; finding["image-prompt"]; finding["image-shell"]
    print "#include \"doctor/parts.h\"\n"
    print "const struct part parts[] = {"
}
/^(#|$)/ { next }
NF != 5 || !($1 in when) || !($2 in kind) || !($5 in finding) || /["\\]/ || $4 in seen || ($2 == "hook") != ($4 ~ /^hooks\//) {
    printf "%s:%d: want WHEN KIND SOURCE PATH FINDING, each path once\n", FILENAME, FNR >"/dev/stderr"
    failed = 1
    exit 1
}
{
    seen[$4]
    printf "    {%s, %s, \"%s\", \"%s\", \"%s\"},\n", when[$1], kind[$2], $3, $4, $5
}
END {
    if (failed)
        exit 1
    print "};\nconst size_t parts_count = sizeof(parts) / sizeof(parts[0]);"
}
