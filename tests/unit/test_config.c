/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/config.h"
#include "base/file.h"
#include "test.h"

#define ARN "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define VOLUME "[volume root]\ndevice=/dev/vda\n"

static enum mu_status load_bytes(const char *content, size_t len, struct config *ret)
{
    const char *path = temp_path("config");

    assert_int_equal(file_write(path, (struct bytes){(const uint8_t *)content, len}, 0600, &err),
                     MU_OK);
    return config_load(path, ret, &err);
}

static enum mu_status load(const char *content, struct config *ret)
{
    return load_bytes(content, strlen(content), ret);
}

TEST(test_open)
{
    struct config c;

    assert_int_equal(load(VOLUME "[boot]\nopen = swap \tefivars\n", &c), MU_OK);
    assert_true(config_opens(&c, "efivars"));
    assert_true(config_opens(&c, "swap"));
    assert_false(config_opens(&c, "efivar"));
    assert_false(config_opens(&c, "imds"));
    assert_false(config_opens(&c, "-"));
    assert_false(config_opens(&c, ""));
    config_free(&c);
    assert_int_equal(load(VOLUME, &c), MU_OK);
    assert_false(config_opens(&c, "efivars"));
    config_free(&c);
    assert_int_equal(load("[boot]\nopen = swap everything\n" VOLUME, &c), MU_CONFIG);
    assert_non_null(strstr(err.text, "open = everything: no door has this name; the doors are "
                                     "efivars, credentials"));
}

TEST(test_defaults)
{
    struct config c;

    assert_int_equal(load(VOLUME, &c), MU_OK);
    assert_string_equal(c.baseline, "/etc/measured-unlock/baseline.json");
    assert_string_equal(c.builder_key, "/etc/measured-unlock/builder.pem");
    assert_string_equal(c.report, "/run/measured-unlock/report.json");
    assert_string_equal(c.eventlog, "/sys/kernel/security/tpm0/binary_bios_measurements");
    assert_string_equal(c.aws.imds, "http://169.254.169.254");
    assert_string_equal(c.aws.ca_file, "/etc/measured-unlock/ca.pem");
    assert_null(c.tcti);
    assert_null(c.aws.kms_endpoint);
    assert_int_equal(c.fence_pcr, 15);
    assert_int_equal(c.timeout, 120);
    assert_int_equal(c.minimum_record_version, 1);
    assert_int_equal(c.action, ACTION_POWEROFF);
    assert_int_equal(c.fallback, FALLBACK_NONE);
    assert_false(c.aws.fips || c.aws.dual_stack || c.volume[0].discard);
    assert_int_equal(c.volumes, 1);
    assert_string_equal(c.volume[0].name, "root");
    assert_string_equal(c.volume[0].mapping, "root");
    assert_string_equal(c.volume[0].device, "/dev/vda");
    config_free(&c);
    assert_null(c.baseline);
}

TEST(test_everything)
{
    struct config c;

    assert_int_equal(load("# a comment\n"
                          "[boot]\n"
                          "  baseline = /b # not a comment\n"
                          "\tbuilder_key=/k\n"
                          "fence_pcr = 8\n"
                          "timeout = 3600\n"
                          "minimum_record_version = 2147483647\n"
                          "action = halt\n"
                          "fallback = shell\n"
                          "report = /r\n"
                          "\n"
                          "[tpm]\n"
                          "tcti = swtpm:host=127.0.0.1,port=1\n"
                          "eventlog = /e\n"
                          "[aws]\n"
                          "imds = http://[fd00:ec2::254]\n"
                          "ca_file = /c\n"
                          "kms_endpoint = https://vpce.example/a=b, eu-west-1=https://x\n"
                          "fips = yes\n"
                          "dual_stack = yes\n"
                          "[volume root]\n"
                          "device = UUID=1234\n"
                          "mapping = luks-root\n"
                          "discard = yes\n"
                          "[volume data_1.x-y]\n"
                          "device = PARTLABEL=data\n"
                          "create = blank\n"
                          "key_arn = " ARN ", " ARN "\n"
                          "discard = no",
                          &c),
                     MU_OK);
    assert_string_equal(c.baseline, "/b # not a comment");
    assert_string_equal(c.builder_key, "/k");
    assert_int_equal(c.fence_pcr, 8);
    assert_int_equal(c.timeout, 3600);
    assert_int_equal(c.minimum_record_version, 2147483647);
    assert_int_equal(c.action, ACTION_HALT);
    assert_int_equal(c.fallback, FALLBACK_SHELL);
    assert_string_equal(c.tcti, "swtpm:host=127.0.0.1,port=1");
    assert_string_equal(c.aws.imds, "http://[fd00:ec2::254]");
    assert_string_equal(c.aws.kms_endpoint, "https://vpce.example/a=b, eu-west-1=https://x");
    assert_true(c.aws.fips && c.aws.dual_stack && c.volume[0].discard && !c.volume[1].discard);
    assert_int_equal(c.volumes, 2);
    assert_string_equal(c.volume[0].mapping, "luks-root");
    assert_string_equal(c.volume[1].name, "data_1.x-y");
    assert_string_equal(c.volume[1].mapping, "data_1.x-y");
    config_free(&c);
}

TEST(test_bad)
{
    static const struct {
        const char *content, *says;
    } cases[] = {
        {"", "no [volume NAME] section"},
        {"[boot]\n", "no [volume NAME] section"},
        {"action = halt\n" VOLUME, ":1: \"action\" stands before the first section"},
        {VOLUME "[boots]\n", ":3: unknown section [boots]"},
        {VOLUME "[volume]\n", ":3: unknown section [volume]"},
        {VOLUME "[]\n", ":3: unknown section []"},
        {VOLUME "[boot\n", ":3: neither"},
        {VOLUME "device\n", ":3: neither"},
        {VOLUME "[boot] # c\n", ":3: neither"},
        {VOLUME "[boot]\ncolour = red\n", ":4: unknown key \"colour\" in section [boot]"},
        {VOLUME "[boot]\nfips = yes\n", ":4: unknown key \"fips\" in section [boot]"},
        {VOLUME "[boot]\nAction = halt\n", ":4: unknown key \"Action\""},
        {VOLUME "[boot]\n[boot]\n", ":4: section [boot] occurs twice"},
        {VOLUME "device=/dev/vdb\n", ":3: device occurs twice"},
        {VOLUME VOLUME, ":3: volume root occurs twice"},
        {VOLUME "[volume a]\ndevice=/dev/b\nmapping=root\n", "same mapping root"},
        {"[volume a]\n", "volume a has no device"},
        {"[volume a]\n" VOLUME, "volume a has no device"},
        {"[volume a/b]\ndevice=/dev/a\n", ":1: volume name must be"},
        {"[volume ..]\ndevice=/dev/a\n", ":1: volume name must be"},
        {"[volume a b]\ndevice=/dev/a\n", ":1: volume name must be"},
        {"[volume control]\ndevice=/dev/a\n", ":1: volume name must be"},
        {"[volume "
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\ndevice=/dev/a\n",
         ":1: volume name must be"},
        {VOLUME "mapping = a/b\n", ":3: mapping must be"},
        {VOLUME "mapping =\n", ":3: mapping must have 1 to"},
        {VOLUME "discard = true\n", ":3: discard must be no, yes"},
        {VOLUME "discard = Yes\n", ":3: discard must be no, yes"},
        {"[volume a]\ndevice = sda\n", ":2: device must be"},
        {"[volume a]\ndevice = UUID=\n", ":2: device must be"},
        {VOLUME "[boot]\nbaseline = b\n", ":4: baseline must be an absolute path"},
        {VOLUME "[boot]\nfence_pcr = 7\n", ":4: fence_pcr must be a number from 8 to 15"},
        {VOLUME "[boot]\nfence_pcr = 16\n", ":4: fence_pcr"},
        {VOLUME "[boot]\nfence_pcr = 0x0f\n", ":4: fence_pcr"},
        {VOLUME "[boot]\nfence_pcr = -8\n", ":4: fence_pcr"},
        {VOLUME "[boot]\nfence_pcr = +8\n", ":4: fence_pcr"},
        {VOLUME "[boot]\nfence_pcr = 8 9\n", ":4: fence_pcr"},
        {VOLUME "[boot]\ntimeout = 4\n", ":4: timeout must be a number from 5 to 3600"},
        {VOLUME "[boot]\ntimeout = 3601\n", ":4: timeout"},
        {VOLUME "[boot]\ntimeout = 18446744073709551626\n", ":4: timeout"},
        {VOLUME "[boot]\ntimeout = 4294967306\n", ":4: timeout"},
        {VOLUME "[boot]\nminimum_record_version = 0\n", ":4: minimum_record_version"},
        {VOLUME "[boot]\nminimum_record_version = 2147483648\n", ":4: minimum_record_version"},
        {VOLUME "[boot]\naction = none\n", ":4: action must be poweroff, reboot or halt"},
        {VOLUME "[boot]\nopen = efivars bogus\n", ": open = bogus: no door has this name"},
        {VOLUME "[boot]\nopen = -\n", ": open = -: no door has this name"},
        {VOLUME "[boot]\nfallback = no\n", ":4: fallback must be none, passphrase or shell"},
        {VOLUME "[tpm]\ntcti = tabrmd\n", ":4: tcti must be"},
        {VOLUME "[aws]\nimds = 169.254.169.254\n", ":4: imds must be a URL"},
        {VOLUME "[aws]\nkms_endpoint = file:///x\n", ":4: kms_endpoint must be a URL"},
        {VOLUME "[aws]\nkms_endpoint = ,\n", ":4: kms_endpoint must be a URL"},
        {VOLUME "[aws]\nkms_endpoint = https://a, b\n", ":4: kms_endpoint must be a URL"},
        {VOLUME "[aws]\nkms_endpoint = =https://a\n", ":4: kms_endpoint must be a URL"},
        {VOLUME "[aws]\nkms_endpoint = eu-west-1=x\n", ":4: kms_endpoint must be a URL"},
        {VOLUME "create = blank\nkey_arn = " ARN " x\n", ":4: key_arn must be the ARN"},
        {VOLUME "create = blank\nkey_arn = arn: " ARN "\n", ":4: key_arn must be the ARN"},
        {VOLUME "create = blank\nkey_arn = ,\n", ":4: key_arn must be the ARN"},
        {VOLUME "\x1b[31m\n", ":3: control character"},
        {VOLUME "[boot]\r\n", ":3: control character"},
        {"[volume 1]\ndevice=/dev/a\n[volume 2]\ndevice=/dev/a\n[volume 3]\ndevice=/dev/a\n"
         "[volume 4]\ndevice=/dev/a\n[volume 5]\ndevice=/dev/a\n[volume 6]\ndevice=/dev/a\n"
         "[volume 7]\ndevice=/dev/a\n[volume 8]\ndevice=/dev/a\n[volume 9]\ndevice=/dev/a\n",
         ":17: more than 8 volumes"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config c = {.timeout = 77};

        if (load(cases[i].content, &c) != MU_CONFIG)
            fail_msg("accepted: %s", cases[i].content);
        if (strstr(err.text, cases[i].says) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].says);
        assert_memory_equal(err.text, temp_path("config"), strlen(temp_path("config")));
        assert_int_equal(c.timeout, 77);
    }
}

TEST(test_odd_files)
{
    static char large[65537];
    struct config c;

    memset(large, '\n', sizeof(large));
    memcpy(large, VOLUME, strlen(VOLUME));
    assert_int_equal(load_bytes(large, sizeof(large), &c), MU_CONFIG);
    assert_non_null(strstr(err.text, "larger than 65536 bytes"));
    assert_int_equal(load_bytes(large, sizeof(large) - 1, &c), MU_OK);
    config_free(&c);
    memset(large, 'x', sizeof(large));
    memcpy(large, VOLUME "[boot]\nreport=/", strlen(VOLUME "[boot]\nreport=/"));
    assert_int_equal(load_bytes(large, 60000, &c), MU_CONFIG);
    assert_non_null(strstr(err.text, ":4: report must have 1 to 2048 characters"));
    assert_int_equal(load_bytes(VOLUME "\0", strlen(VOLUME) + 1, &c), MU_CONFIG);
    assert_non_null(strstr(err.text, "zero byte"));
    assert_int_equal(config_load("/nonexistent/x.conf", &c, &err), MU_CONFIG);
    assert_int_equal(config_load("/tmp", &c, &err), MU_CONFIG);
}

/* Every beginning of a good file either loads or is MU_CONFIG with a text. */
TEST(test_truncated)
{
    static const char content[] =
        "[boot]\naction = halt\ntimeout=30\n[volume root]\ndevice=/dev/a\n";
    size_t good = 0;

    for (size_t len = 0; len < sizeof(content); len++) {
        struct config c = {0};
        enum mu_status status = load_bytes(content, len, &c);

        assert_true(status == MU_OK || status == MU_CONFIG);
        good += status == MU_OK;
        config_free(&c);
    }
    /* From "device=/d" on; the last length has the zero byte. */
    assert_int_equal(good, 6);
}
