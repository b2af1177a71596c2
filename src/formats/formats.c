/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of formats and the choice among them. */
#include "base/bytes.h"
#include "formats/foreign.h"
#include "formats/format.h"
#include "formats/luks.h"
#include "formats/qcow2/qcow2.h"
#include "formats/raw.h"

/* Signatures at the head are distinct, so their order is free; raw has none and is what
 */
static const ImFormat *const formats[] = {
    &im_format_qcow2,
    &im_format_luks,
    &im_format_raw,
    NULL,
};

const ImFormat *const *
im_formats (void)
{
  return formats;
}

const ImFormat *
im_format_by_name (const char *name)
{
  for (const ImFormat *const *f = formats; *f; f++)
    if (strcmp ((*f)->name, name) == 0 ||
        ((*f)->alias && strcmp ((*f)->alias, name) == 0))
      return *f;
  return NULL;
}

const ImFormat *
im_format_probe (const ImProbeInput *input)
{
  for (const ImFormat *const *f = formats; *f; f++)
    if ((*f)->probe && (*f)->probe (input))
      return *f;
  return im_format_foreign.probe (input) ? &im_format_foreign : &im_format_raw;
}

bool
im_probe_input_read (ImProbeInput *ret_input, ImFile *file, uint8_t *head, uint8_t *tail,
                     GError **error)
{
  uint64_t size = im_file_size (file);
  *ret_input = (ImProbeInput){.head = head,
                              .head_len = (size_t)im_min (size, IM_PROBE_HEAD),
                              .tail = tail,
                              .tail_len = (size_t)im_min (size, IM_PROBE_TAIL),
                              .file_size = size};
  return im_file_pread (file, head, ret_input->head_len, 0, error) &&
         im_file_pread (file, tail, ret_input->tail_len, size - ret_input->tail_len,
                        error);
}
