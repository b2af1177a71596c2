/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signatures of formats that are not read. */
#include "formats/foreign.h"
#include "base/bytes.h"
#include "base/error.h"

typedef struct {
  const char *format;
  uint16_t at; /* from the file's start, or, where BACK is set, so far before its end */
  bool back;   /* see at */
  uint8_t length;
  char bytes[24];
} Signature;

static const Signature signatures[] = {
    {"VMDK", .length = 4, .bytes = "KDMV"},
    {"VMDK", .length = 4, .bytes = "COWD"},
    {"VMDK", .length = 21, .bytes = "# Disk DescriptorFile"},
    {"VMDK", .length = 8, .bytes = "\xbe\xba\xfe\xca\0\0\0"}, /* seSparse */
    {"VDI", .at = 64, .length = 4, .bytes = "\x7f\x10\xda\xbe"},
    {"VHD", .length = 8, .bytes = "conectix"},
    {"VHD", .at = 512, .back = true, .length = 8, .bytes = "conectix"}, /* fixed */
    {"VHDX", .length = 8, .bytes = "vhdxfile"},
    {"Parallels", .length = 16, .bytes = "WithoutFreeSpace"},
    {"Parallels", .length = 16, .bytes = "WithouFreSpacExt"},
    {"DMG", .at = 512, .back = true, .length = 8, .bytes = "koly\0\0\0\4"},
    {"QED", .length = 4, .bytes = "QED"},
    {"Bochs", .length = 22, .bytes = "Bochs Virtual HD Image"},
    {"cloop", .length = 22, .bytes = "#!/bin/sh\n#V2.0 Format"},
    {"EWF (E01)", .length = 8, .bytes = "EVF\x09\x0d\x0a\xff"},
    {"EWF (L01)", .length = 8, .bytes = "LVF\x09\x0d\x0a\xff"},
    {"EWF (Ex01)", .length = 8, .bytes = "EVF2\x0d\x0a\x81"},
    {"EWF (Lx01)", .length = 8, .bytes = "LEF2\x0d\x0a\x81"},
    {"AFF", .length = 8, .bytes = "AFF10\x0d\x0a"},
    {"sparse disk image", .length = 4, .bytes = "sprs"},
};

static bool
is_there (const Signature *signature, const ImProbeInput *input)
{
  const uint8_t *window = signature->back ? input->tail : input->head;
  size_t length = signature->back ? input->tail_len : input->head_len;
  if (signature->back && length < signature->at)
    return false;
  size_t at = signature->back ? length - signature->at : signature->at;
  return im_range_fits (at, signature->length, length) &&
         memcmp (window + at, signature->bytes, signature->length) == 0;
}

static const Signature *
find (const ImProbeInput *input)
{
  for (size_t i = 0; i < G_N_ELEMENTS (signatures); i++)
    if (is_there (&signatures[i], input))
      return &signatures[i];
  return NULL;
}

static bool
foreign_probe (const ImProbeInput *input)
{
  return find (input) != NULL;
}

/* Looks once more, since a driver is not told what probing saw. */
static ImBlock *
foreign_open (ImFile *file, const ImOpenContext *context, GError **error)
{
  uint8_t head[IM_PROBE_HEAD], tail[IM_PROBE_TAIL];
  ImProbeInput input;
  if (!im_probe_input_read (&input, file, head, tail, error))
    return NULL;
  const Signature *found = find (&input);
  g_set_error (error, IM_ERROR, IM_ERROR_UNSUPPORTED,
               "the signature of %s, a format that is not read; -f raw takes the file's "
               "own bytes for the disk",
               found ? found->format : "another format");
  return NULL;
}

const ImFormat im_format_foreign = {
    .name = "an image of another format",
    .description = "what is recognised, but not read",
    .probe = foreign_probe,
    .open = foreign_open,
};
