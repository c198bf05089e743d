# SPDX-License-Identifier: GPL-2.0-or-later
# dracut-module/doors as C: see base/doors.h.
BEGIN {
    kind["word"] = "DOOR_WORD"; kind["forbidden"] = "DOOR_FORBIDDEN"; kind["module"] = "DOOR_MODULE"
    kind["generator"] = "DOOR_GENERATOR"; kind["unit"] = "DOOR_UNIT"
    print "#include \"base/doors.h\"\n"
    print "const struct door doors[] = {"
}
/^(#|$)/ { next }
!($1 in kind) || NF < 5 || /["\\]/ || ($1, $2) in seen {
    printf "%s:%d: want KIND VALUE NAME SINCE REASON, each value once\n", FILENAME, FNR >"/dev/stderr"
    failed = 1
    exit 1
}
{
    seen[$1, $2] = 1
    reason = $0
    for (i = 0; i < 4; i++)
        sub(/^[^ \t]+[ \t]+/, "", reason)
    printf "    {%s, \"%s\", \"%s\", \"%s\", \"%s\"},\n", kind[$1], $2, $3, $4, reason
}
END {
    if (failed)
        exit 1
    print "};\nconst size_t doors_count = sizeof(doors) / sizeof(doors[0]);"
}
