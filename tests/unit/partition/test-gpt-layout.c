/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GPT headers and entries as bytes. */
#include "partition/gpt-layout.h"
#include <string.h>

static void
test_names (void)
{
  static const struct {
    const char *utf16; /* little-endian */
    size_t units;
    const char *utf8;
  } cases[] = {
      {"a\0b\0c\0", 3, "abc"},
      {"a\0\0\0c\0", 3, "a"},
      {"\xe4\0", 1, "ä"},
      {"\xac\x20", 1, "€"},
      {"\x3d\xd8\x00\xde", 2, "😀"},
      {"\xff\xdb\xff\xdf", 2, "\xf4\x8f\xbf\xbf"},
      {"\x3d\xd8", 1, "\xef\xbf\xbd"}, /* a pair cut by the end */
      {"\x3d\xd8"
       "A\0",
       2,
       "\xef\xbf\xbd"
       "A"},                                               /* a high one alone */
      {"\x00\xde\x3d\xd8", 2, "\xef\xbf\xbd\xef\xbf\xbd"}, /* the wrong way round */
      {"\xff\xff", 1, "\xef\xbf\xbf"},
      {"\0\0a\0", 2, NULL},
      {"", 0, NULL},
  };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *name =
        im_gpt_name_to_utf8 ((const uint8_t *)cases[i].utf16, cases[i].units);
    g_assert_cmpstr (name, ==, cases[i].utf8);
    g_assert_true (!name || g_utf8_validate (name, -1, NULL));
  }
}

static void
test_every_unit_gives_valid_text (void)
{
  for (unsigned unit = 1; unit <= 0xffff; unit++) {
    uint8_t bytes[4] = {(uint8_t)unit, (uint8_t)(unit >> 8), 'x', 0};
    g_autofree char *name = im_gpt_name_to_utf8 (bytes, 2);
    g_assert_true (g_utf8_validate (name, -1, NULL));
    g_assert_true (g_str_has_suffix (name, "x"));
  }
}

static ImGptHeader
good_header (void)
{
  return (ImGptHeader){.header_size = 92,
                       .this_lba = 1,
                       .other_lba = 999,
                       .first_usable = 34,
                       .last_usable = 966,
                       .entries_lba = 2,
                       .entries = 128,
                       .entry_size = 128};
}

static void
assert_problem (const ImGptHeader *header, const char *text)
{
  g_autofree char *problem = im_gpt_header_problem (header, 512, 1, 1000);
  if (!text) {
    g_assert_null (problem);
    return;
  }
  g_assert_nonnull (problem);
  g_assert_nonnull (strstr (problem, text));
}

/* One field of a good header at a time. */
static void
test_header_fields (void)
{
  ImGptHeader good = good_header (), h = good;
  assert_problem (&h, NULL);
  h.header_size = 91, assert_problem (&h, "header size is 91");
  h.header_size = 513, assert_problem (&h, "header size is 513");
  h.header_size = 512, assert_problem (&h, NULL);
  h = good, h.this_lba = 2, assert_problem (&h, "says that it is at sector 2");
  h = good, h.entry_size = 0, assert_problem (&h, "entry size is 0");
  h.entry_size = 127, assert_problem (&h, "entry size is 127");
  h.entry_size = 384, assert_problem (&h, "entry size is 384");
  h.entry_size = 256, assert_problem (&h, NULL);
  h.entry_size = 131072, assert_problem (&h, "beyond the limit of 65536");
  h = good, h.entries = 32769, assert_problem (&h, "entry count is 32769");
  h.entries = UINT32_MAX, assert_problem (&h, "entry count is 4294967295");
  h.entries = 0, assert_problem (&h, NULL);
  h = good, h.entries_lba = 968, assert_problem (&h, NULL);
  h.entries_lba = 969, assert_problem (&h, "runs past the disk's 1000 sectors");
  h.entries_lba = UINT64_MAX, assert_problem (&h, "runs past the disk's 1000 sectors");
  h = good, h.last_usable = 33, assert_problem (&h, "last usable sector 33 is before");
}

static void
test_signature_is_demanded (void)
{
  uint8_t sector[512] = "EFI PART";
  ImGptHeader header;
  g_assert_true (im_gpt_header_decode (sector, sizeof sector, &header));
  g_assert_false (im_gpt_header_decode (sector, 91, &header));
  sector[7] = 't';
  g_assert_false (im_gpt_header_decode (sector, sizeof sector, &header));
}

static void
test_guids_are_mixed_endian (void)
{
  uint8_t entry[128];
  for (unsigned i = 0; i < sizeof entry; i++)
    entry[i] = (uint8_t)i;
  ImGptEntry e;
  im_gpt_entry_decode (entry, &e);
  g_autofree char *name = e.name;
  g_assert_true (g_utf8_validate (name, -1, NULL));
  g_assert_cmpstr (e.type_guid, ==, "03020100-0504-0706-0809-0A0B0C0D0E0F");
  g_assert_cmpstr (e.unique_guid, ==, "13121110-1514-1716-1819-1A1B1C1D1E1F");
  g_assert_cmphex (e.first, ==, UINT64_C (0x2726252423222120));
  g_assert_cmphex (e.attributes, ==, UINT64_C (0x3736353433323130));
  g_assert_true (e.used);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(path, function) g_test_add_func ("/partition/gpt-layout/" path, function)
  ADD ("names", test_names);
  ADD ("every-unit-gives-valid-text", test_every_unit_gives_valid_text);
  ADD ("header-fields", test_header_fields);
  ADD ("signature-is-demanded", test_signature_is_demanded);
  ADD ("guids-are-mixed-endian", test_guids_are_mixed_endian);
  return g_test_run ();
}
