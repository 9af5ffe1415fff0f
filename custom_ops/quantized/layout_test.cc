#include "quantized/layout.h"

#include <cstring>
#include <string>
#include <vector>

#include "quantized/dense_layout.h"
#include "testing/check.h"

namespace blast_deploy::quantized {
namespace {

constexpr Format kInt8{8, 0};

std::vector<std::uint8_t> packed(const DenseLayout& layout, const std::vector<std::int8_t>& weight,
                                 const std::vector<float>& scale) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(layout.size), 0xee);
  pack(layout, weight.data(), scale.data(), bytes.data());
  return bytes;
}

float float_at(const std::vector<std::uint8_t>& bytes, std::size_t place) {
  float value = 0;
  std::memcpy(&value, bytes.data() + place, sizeof value);
  return value;
}

TEST(eight_bits_stand_in_fours_and_scales_at_the_end) {
  const DenseLayout layout = plan_dense({2, 5}, kInt8);
  CHECK(layout.size == 16 * 32 + 16 * 4);
  const auto bytes = packed(layout, {1, 2, 3, 4, 5, -1, -127, -128, 127, 0}, {0.5F, 0.25F});
  std::vector<std::uint8_t> expected(16 * 32, 128);
  const std::uint8_t first[] = {129, 130, 131, 132, 127, 1, 0, 255};
  std::copy(std::begin(first), std::end(first), expected.begin());
  expected[64] = 133;
  CHECK(std::equal(expected.begin(), expected.end(), bytes.begin()));
  CHECK(float_at(bytes, 512) == 0.5F && float_at(bytes, 516) == 0.25F && float_at(bytes, 520) == 0.0F);
}

TEST(four_bits_stand_two_in_a_byte_after_the_scales_of_their_block) {
  const DenseLayout layout = plan_dense({1, 33}, {4, 32});
  CHECK(layout.size == 2 * (64 + 16 * 16));
  std::vector<std::int8_t> weight(33, 0);
  for (std::int8_t column = 0; column < 8; ++column) weight[static_cast<std::size_t>(column)] = column - 4;
  weight[32] = 7;
  const auto bytes = packed(layout, weight, {1.5F, -2.0F});
  CHECK(bytes[0] == 0xc0 && bytes[1] == 0x3f && bytes[2] == 0);  // 1.5 is 0x3fc00000
  // Values -4 to -1 in the lower halves, 0 to 3 in the upper ones.
  CHECK(bytes[64] == 0x84 && bytes[65] == 0x95 && bytes[66] == 0xa6 && bytes[67] == 0xb7);
  CHECK(bytes[68] == 0x88);
  CHECK(bytes[320] == 0x00 && bytes[321] == 0xc0);  // -2 is 0xc0000000
  CHECK(bytes[384] == 0x8f && bytes[385] == 0x88);
}

TEST(blocks_of_64_share_their_scales) {
  CHECK(plan_dense({32, 128}, {4, 64}).size == 2 * (64 + 32 * 32));
  CHECK(plan_dense({32, 65}, {4, 64}).size == 64 + 32 * 32 + 64 + 32 * 16);
}

TEST(rows_are_cut_into_panels_of_32_and_16) {
  CHECK(plan_dense({32, 32}, kInt8).size == 32 * 36);
  CHECK(plan_dense({33, 32}, kInt8).size == (32 + 16) * 36);
  CHECK(plan_dense({48, 32}, kInt8).size == (32 + 16) * 36);
  CHECK(plan_dense({49, 32}, kInt8).size == 64 * 36);
  std::vector<std::int8_t> weight(40 * 32);
  std::vector<float> scale(40);
  for (std::size_t row = 0; row < 40; ++row) {
    scale[row] = static_cast<float>(row) + 1.0F;
    for (std::size_t column = 0; column < 32; ++column) {
      weight[row * 32 + column] = static_cast<std::int8_t>(row + column);
    }
  }
  const auto bytes = packed(plan_dense({40, 32}, kInt8), weight, scale);
  for (std::size_t row = 0; row < 40; ++row) {
    const std::size_t panel = row < 32 ? 0 : 32 * 36;
    const std::size_t width = row < 32 ? 32 : 16;
    for (std::size_t column = 0; column < 32; ++column) {
      const std::size_t place = panel + column / 4 * 4 * width + row % 32 * 4 + column % 4;
      CHECK(bytes[place] == 128 + row + column);
    }
    CHECK(float_at(bytes, panel + 32 * width + row % 32 * 4) == scale[row]);
  }
}

TEST(factors_stand_in_the_order_of_use) {
  // Two groups of the rank, of 32 and 1 components.
  const Layout layout = plan({3, 3, 2, 2, 33}, kInt8);
  CHECK(layout.block_rows == 2 && layout.block_columns == 2 && layout.chunks == 2);
  const std::int64_t panel = 32 * 36;
  const std::int64_t tail = 16 * 36;
  CHECK(v_offset(layout, 0, 1) == panel && s_offset(layout, 0) == 2 * panel);
  CHECK(v_offset(layout, 1, 0) == 2 * panel + 128);
  CHECK(s_offset(layout, 1) == 2 * panel + 128 + 2 * tail);
  CHECK(u_offset(layout, 0) == 2 * panel + 128 + 2 * tail + 128);
  CHECK(layout.size == u_offset(layout, 0) + 2 * 16 * (64 + 4));

  std::vector<std::int8_t> u(2 * 2 * 33), s(2 * 2 * 33), v(2 * 33 * 2);
  for (std::size_t index = 0; index < u.size(); ++index) {
    u[index] = static_cast<std::int8_t>(index % 100);
    s[index] = static_cast<std::int8_t>(index % 90);
    v[index] = static_cast<std::int8_t>(index % 80);
  }
  const std::vector<float> u_scale = {1, 2, 3, 4};
  std::vector<float> v_scale(66);
  for (std::size_t index = 0; index < v_scale.size(); ++index) v_scale[index] = static_cast<float>(index) + 1;
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(layout.size), 0xee);
  pack(layout, {u.data(), u_scale.data(), s.data(), v.data(), v_scale.data()}, bytes.data());
  const auto at = [&](std::int64_t place) {
    return static_cast<int>(bytes[static_cast<std::size_t>(place)]);
  };
  // V of block column 0: component 1 of the rank, both columns; of block column 1 the second is padding.
  CHECK(at(4) == 128 + 2 && at(5) == 128 + 3);
  CHECK(at(panel + 4) == 128 + 68 && at(panel + 5) == 128);
  CHECK(float_at(bytes, static_cast<std::size_t>(panel + 32 * 32 + 4)) == 35.0F);
  // S: block (1, 0), component 5; then component 32, which stands alone.
  CHECK(at(s_offset(layout, 0) + 2 * 32 + 5) == (2 * 33 + 5) % 90);
  CHECK(at(s_offset(layout, 1) + 3 * 32) == (3 * 33 + 32) % 90 && at(s_offset(layout, 1) + 3 * 32 + 1) == 0);
  // U of block row 1: its second row is padding.
  CHECK(at(u_offset(layout, 1)) == 128 + 66 && at(u_offset(layout, 1) + 4) == 128);
  CHECK(at(u_offset(layout, 1) + 32 * 16) == 128 + 98);
  CHECK(float_at(bytes, static_cast<std::size_t>(u_offset(layout, 1) + 64 * 16)) == 3.0F);
  CHECK(float_at(bytes, static_cast<std::size_t>(u_offset(layout, 1) + 64 * 16 + 4)) == 0.0F);
}

TEST(what_has_no_kernel_is_refused) {
  const std::string known =
      ", and there are kernels for 8 bits with block_size 0 (one scale for a row) and for 4 bits with "
      "block_size 32 or 64";
  CHECK_THROWS(plan({1, 1, 1, 1, 1}, {2, 32}), "bits is 2 and block_size 32" + known);
  CHECK_THROWS(plan({1, 1, 1, 1, 1}, {8, 32}), "bits is 8 and block_size 32" + known);
  CHECK_THROWS(plan_dense({1, 1}, {4, 0}), "bits is 4 and block_size 0" + known);
  CHECK_THROWS(plan_dense({0, 1}, kInt8), "out_features is 0, and must be from 1 to 2147483647");
  CHECK_THROWS(plan({1, 1, 1, 1, 0}, kInt8), "the rank is 0, and must be from 1 to 2147483647");
}

TEST(what_does_not_fit_four_bits_is_refused) {
  const DenseLayout layout = plan_dense({1, 1}, {4, 32});
  CHECK_THROWS(packed(layout, {8}, {1}), "the weight holds 8, and values of 4 bits must be from -8 to 7");
  CHECK_THROWS(
      packed(layout, {0}, {1.001F}),
      "the weight has the scale 1.001000, and scales of 4-bit blocks must be exact in bfloat16; round "
      "them to it");
}

}  // namespace
}  // namespace blast_deploy::quantized

RUN_TESTS()
